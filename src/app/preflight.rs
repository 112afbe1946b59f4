//! Would `run` work here? What `check` prints and what `run` refuses to start on. Changes nothing but the publication.
use crate::config::Config;
use crate::domain::Table;
use crate::egress::guard::Guard;
use crate::mapping::TableNeeds;
use crate::postgres::checks::{self, Expectation, Finding, Needed, Severity};
use crate::postgres::publication::{self, Wanted};
use crate::postgres::session::Patience;
use crate::postgres::snapshot::SUBSCRIPTION_COLUMNS;
use crate::postgres::{PgError, Session, TableName, catalog};
use crate::registry::rows::{self, RowChange};
use crate::registry::seal::Sealer;
use std::collections::BTreeMap;
use tracing::{info, warn};

/// Refused rows that are named one by one.
const NAMED: usize = 20;

fn expected(config: &Config) -> Expectation {
    let tables = config.mapping.tables().into_iter().map(|needs| Needed {
        table: TableName::new(needs.schema, needs.name),
        optional: needs.optional,
        shadow: needs.shadow,
        insert_only: needs.insert_only,
    });
    Expectation {
        slot: config.database.slot.clone(),
        publication: config.database.publication.clone(),
        schema: config.database.schema.clone(),
        tables: tables.collect(),
    }
}

/// Everything that is found in the database, with what mends it; the worst first.
pub async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = checks::check(config.database.url.expose(), &expected(config)).await;
    match of_the_file(config).await {
        Ok(more) => findings.extend(more),
        // that the database cannot be reached is among the findings already
        Err(why) if findings.is_empty() => {
            findings.push(Finding { severity: Severity::Error, what: why.to_string(), remedy_sql: None });
        }
        Err(_) => {}
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

async fn of_the_file(config: &Config) -> Result<Vec<Finding>, PgError> {
    let session = Session::connect(config.database.url.expose(), Patience::ADMIN).await?;
    let mut findings = rules(&session, config).await?;
    let schema = &config.database.schema;
    findings.extend(
        checks::api(config.database.api_url.as_ref().unwrap_or(&config.database.url).expose(), schema).await,
    );
    // a table that is not there, or that this role may not read, is among the findings already
    if let Ok(rows) = checks::subscriptions(&session, schema).await {
        findings.extend(unrouted(config, &rows));
    }
    Ok(findings)
}

/// Active subscriptions that SQL wrote and that are not routed.
fn unrouted(config: &Config, rows: &[Vec<Option<String>>]) -> Vec<Finding> {
    let guard = Guard::new(&config.egress);
    // nothing is opened or kept, so the key does not matter
    let rules = rows::RowRules { sealer: &Sealer::plaintext(), url: &|url| guard.check_url(url) };
    let refused = rows.iter().filter_map(|row| match rows::snapshot_row(&SUBSCRIPTION_COLUMNS, row, rules) {
        Some(RowChange::Refused(id, why)) => Some(format!("subscription {id} is not routed: {why}")),
        _ => None,
    });
    let mut texts: Vec<String> = refused.collect();
    let more = texts.len().saturating_sub(NAMED);
    texts.truncate(NAMED);
    if more > 0 {
        texts.push(format!("{more} more subscriptions are not routed"));
    }
    let finding = |what| Finding { severity: Severity::Warning, what, remedy_sql: None };
    texts.into_iter().map(finding).collect()
}

/// Rules that do not fit the tables, each with its line in the file.
async fn rules(session: &Session, config: &Config) -> Result<Vec<Finding>, PgError> {
    let names: Vec<TableName> = mapped(config).into_iter().map(|wanted| wanted.table).collect();
    let found = catalog::tables(session.client(), &names, None).await?;
    let found: BTreeMap<String, Table> = found.into_iter().map(|table| (table.full_name(), table)).collect();
    let problems = config.mapping.check(&|name| found.get(name));
    let finding = |problem: crate::mapping::RuleProblem| Finding {
        severity: Severity::Error,
        what: format!("line {}: {}", problem.line, problem.text),
        remedy_sql: None,
    };
    Ok(problems.into_iter().map(finding).collect())
}

/// The mapped tables, as they are to be published.
pub(crate) fn mapped(config: &Config) -> Vec<Wanted> {
    let wanted = |needs: TableNeeds| Wanted {
        table: TableName::new(needs.schema, needs.name),
        insert_only: needs.insert_only,
    };
    config.mapping.tables().into_iter().map(wanted).collect()
}

/// Before the stages start. `followed`: there are deliveries to make whatever the database is like, so only what never
/// passes by itself ends the process.
pub(super) async fn run(config: &Config, followed: bool) -> anyhow::Result<()> {
    match prepare(config, followed).await {
        Ok(()) => Ok(()),
        Err(why) if followed && why.is_transient() => {
            warn!("{why}; pending deliveries go on, and the database is tried again");
            Ok(())
        }
        // capture finds which tables that concerns, and says so until it is mended
        Err(why @ PgError::Privilege(_)) if followed => {
            warn!("{why}");
            Ok(())
        }
        Err(why) => Err(why.into()),
    }
}

async fn prepare(config: &Config, followed: bool) -> Result<(), PgError> {
    let mut session = Session::connect(config.database.url.expose(), Patience::ADMIN).await?;
    refuse(&rules(&session, config).await?)?;
    let subscriptions = TableName::subscriptions(&config.database.schema);
    let mut wanted = mapped(config);
    wanted.push(subscriptions.clone().into());
    let (tables, missing) = publication::existing(session.client(), &wanted).await?;
    if missing.contains(&subscriptions) {
        return Err(PgError::Setup(format!(
            "the table {subscriptions} does not exist; run `tailhook migrate` (with --url for a DBA's role)"
        )));
    }
    for name in missing {
        warn!("the table {name} does not exist; its rules are parked");
    }
    if !followed {
        // before a slot is made that would keep the ERP's WAL for nobody
        let mut findings = checks::fitness(&session, &expected(config)).await?;
        findings.retain(|finding| finding.severity == Severity::Error);
        refuse(&findings)?;
    }
    let done = publication::ensure(&mut session, &config.database.publication, &tables).await?;
    for wrong in done.mended {
        warn!("{}; mended by: {}", wrong.what, wrong.remedy_sql);
    }
    for statement in done.sql {
        info!("publication: {statement}");
    }
    Ok(())
}

/// The first finding, in one line with what mends it.
fn refuse(findings: &[Finding]) -> Result<(), PgError> {
    let Some(first) = findings.first() else { return Ok(()) };
    let remedy = first.remedy_sql.as_ref().map(|sql| format!("; remedy: {sql}")).unwrap_or_default();
    let more = findings.len() - 1;
    let hint = if more > 0 { format!(" (and {more} more: run `tailhook check`)") } else { String::new() };
    Err(PgError::Setup(format!("{}{remedy}{hint}", first.what)))
}
