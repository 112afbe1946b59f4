//! Would `run` work here? What `check` prints and what `run` refuses to start on. Changes nothing but the publication.
use crate::config::Config;
use crate::domain::Table;
use crate::postgres::checks::{self, Expectation, Finding, Needed, Severity};
use crate::postgres::session::Patience;
use crate::postgres::{PgError, Session, TableName, catalog, publication};
use std::collections::BTreeMap;
use tracing::{info, warn};

/// Everything that is found in the database, with what mends it.
pub async fn look(config: &Config) -> Vec<Finding> {
    let tables = config.mapping.tables().into_iter().map(|needs| Needed {
        table: TableName::new(needs.schema, needs.name),
        columns: needs.columns.iter().map(ToString::to_string).collect(),
        optional: needs.optional,
        shadow: needs.shadow,
    });
    let expected = Expectation {
        slot: config.database.slot.clone(),
        publication: config.database.publication.clone(),
        schema: config.database.schema.clone(),
        tables: tables.collect(),
    };
    let mut findings = checks::check(config.database.url.expose(), &expected).await;
    match rules(config).await {
        Ok(problems) => findings.extend(problems),
        // that the database cannot be reached is among the findings already
        Err(why) if findings.is_empty() => {
            findings.push(Finding { severity: Severity::Error, what: why.to_string(), remedy_sql: None });
        }
        Err(_) => {}
    }
    findings
}

/// Rules that do not fit the tables, each with its line in the file.
async fn rules(config: &Config) -> Result<Vec<Finding>, PgError> {
    let session = Session::connect(config.database.url.expose(), Patience::ADMIN).await?;
    let found = catalog::tables(session.client(), &mapped(config), None).await?;
    let found: BTreeMap<String, Table> = found.into_iter().map(|table| (table.full_name(), table)).collect();
    let problems = config.mapping.check(&|name| found.get(name));
    let finding = |problem: crate::mapping::Problem| Finding {
        severity: Severity::Error,
        what: format!("line {}: {}", problem.line, problem.text),
        remedy_sql: None,
    };
    Ok(problems.into_iter().map(finding).collect())
}

/// The mapped tables.
fn mapped(config: &Config) -> Vec<TableName> {
    config.mapping.tables().into_iter().map(|needs| TableName::new(needs.schema, needs.name)).collect()
}

/// Before the stages start. `followed`: there are deliveries to make whatever the database is like, so only what never
/// passes by itself ends the process.
pub(super) async fn run(config: &Config, followed: bool) -> anyhow::Result<()> {
    match prepare(config).await {
        Ok(()) => Ok(()),
        Err(why) if followed && why.is_transient() => {
            warn!("{why}; pending deliveries go on, and the database is tried again");
            Ok(())
        }
        Err(why) => Err(why.into()),
    }
}

async fn prepare(config: &Config) -> Result<(), PgError> {
    let mut session = Session::connect(config.database.url.expose(), Patience::ADMIN).await?;
    let problems = rules(config).await?;
    if let Some(first) = problems.first() {
        let more = problems.len() - 1;
        let hint = if more > 0 { format!(" (and {more} more: run `tailhook check`)") } else { String::new() };
        return Err(PgError::Setup(format!("{}{hint}", first.what)));
    }
    let subscriptions = TableName::subscriptions(&config.database.schema);
    let mut wanted = mapped(config);
    wanted.push(subscriptions.clone());
    let found = catalog::tables(session.client(), &wanted, None).await?;
    let tables: Vec<_> = found.iter().map(|table| TableName::new(&table.schema, &table.name)).collect();
    if !tables.contains(&subscriptions) {
        return Err(PgError::Setup(format!(
            "the table {subscriptions} does not exist; run `tailhook migrate` (with --url for a DBA's role)"
        )));
    }
    let done = publication::ensure(&mut session, &config.database.publication, &tables).await?;
    for statement in done.sql {
        info!("publication: {statement}");
    }
    Ok(())
}
