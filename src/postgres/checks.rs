//! Looks whether a database is fit for us, and says what mends it. Changes nothing; knows no file of ours.
use super::catalog;
use super::error::PgError;
use super::harm;
use super::name::{TableName, quote};
use super::publication::{self, Superfluous, Wanted};
use super::session::{Patience, Session};
use super::snapshot;
use super::visibility::{self, Sight};
use crate::domain::Sealed;
use tokio_postgres::Client;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `run` could not start, or would harm the ERP.
    Error,
    /// Worth knowing.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// In one line.
    pub what: String,
    /// The SQL or setting that mends it.
    pub remedy_sql: Option<String>,
}

/// What a table is needed for.
#[derive(Debug, Clone)]
pub struct Needed {
    /// Which.
    pub table: TableName,
    /// A missing table parks the rules instead of refusing to start.
    pub optional: bool,
    /// The shadow reads it: SELECT, a primary key, and the sight of every row are needed.
    pub shadow: bool,
    /// Only insert rules read it.
    pub insert_only: bool,
}

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// `database.slot`.
    pub slot: String,
    /// `database.publication`.
    pub publication: String,
    /// `database.schema`.
    pub schema: String,
    /// The mapping's tables.
    pub tables: Vec<Needed>,
}

type Findings = Vec<Finding>;

fn error(findings: &mut Findings, what: impl Into<String>, remedy: impl Into<Option<String>>) {
    findings.push(Finding { severity: Severity::Error, what: what.into(), remedy_sql: remedy.into() });
}

fn warning(findings: &mut Findings, what: impl Into<String>, remedy: impl Into<Option<String>>) {
    findings.push(Finding { severity: Severity::Warning, what: what.into(), remedy_sql: remedy.into() });
}

/// Everything that must hold, found out with the role of `database.url`. A database that cannot be reached is a finding.
/// What the rules say of tables and columns that are not there is the mapping's to find: it knows the lines.
pub async fn check(url: &str, expected: &Expectation) -> Findings {
    let mut findings = Vec::new();
    if let Err(problem) = look(url, expected, &mut findings).await {
        error(&mut findings, problem.to_string(), None);
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// A sealed secret of the subscriptions, if there is any: with one, the master key must not be made anew, and must open it.
pub async fn sealed_secret(client: &Client, schema: &str) -> Result<Option<Sealed>, PgError> {
    let name = TableName::subscriptions(schema);
    if catalog::describe(client, catalog::Which::Name(&name), None).await?.is_none() {
        return Ok(None);
    }
    let sql = format!("SELECT secret FROM {} WHERE secret LIKE 'sealed:%' LIMIT 1", name.quoted());
    Ok(client.query_opt(&sql, &[]).await?.map(|row| Sealed::new(row.get::<_, String>(0))))
}

async fn look(url: &str, expected: &Expectation, findings: &mut Findings) -> Result<(), PgError> {
    let session = Session::connect(url, Patience::ADMIN).await?;
    findings.extend(fitness(&session, expected).await?);
    published(session.client(), expected, findings).await
}

/// All of it but the publication, which `run` may be able to make.
pub async fn fitness(session: &Session, expected: &Expectation) -> Result<Vec<Finding>, PgError> {
    let mut findings = Vec::new();
    let client = session.client();
    let version = session.version().await?;
    if version < 140_000 {
        let what = format!("this is PostgreSQL {}; 14 or later is needed", version / 10_000);
        error(&mut findings, what, Some("-- upgrade the server".to_string()));
        return Ok(findings);
    }
    server(client, expected, &mut findings).await?;
    let role: String = client.query_one("SELECT current_user::text", &[]).await?.get(0);
    for needed in &expected.tables {
        table(client, needed, &role, &mut findings).await?;
    }
    ours(client, expected, &role, &mut findings).await?;
    Ok(findings)
}

/// May the role of `url` do what the API does? Without that `run` starts, but no subscription can be made.
pub async fn api(url: &str, schema: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(problem) = writes(url, schema, &mut findings).await {
        warning(&mut findings, format!("the API's role (database.api_url): {problem}"), None);
    }
    findings
}

async fn writes(url: &str, schema: &str, findings: &mut Findings) -> Result<(), PgError> {
    let session = Session::connect(url, Patience::ADMIN).await?;
    let name = TableName::subscriptions(schema);
    let sql = "SELECT current_user::text, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                      AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let Some(row) = session.client().query_opt(sql, &[&name.schema, &name.name]).await? else {
        return Ok(());
    };
    let (role, enough): (String, bool) = (row.get(0), row.get(1));
    if !enough {
        let remedy = format!(
            "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT, INSERT, UPDATE ON {} TO {role};",
            quote(schema),
            name.quoted(),
            role = quote(&role)
        );
        let what = format!("the role {role} may not write {name}: the API cannot make subscriptions");
        warning(findings, what, Some(remedy));
    }
    Ok(())
}

/// The active rows of `webhook_subscriptions`, at most 10,000, in the order of `SUBSCRIPTION_COLUMNS`.
pub async fn subscriptions(session: &Session, schema: &str) -> Result<Vec<snapshot::Values>, PgError> {
    let select = snapshot::select(&TableName::subscriptions(schema), &snapshot::SUBSCRIPTION_COLUMNS);
    let rows =
        session.client().query(&format!("{select} WHERE t.active ORDER BY t.id LIMIT 10000"), &[]).await?;
    Ok(rows.iter().map(snapshot::values).collect())
}

/// Settings, role, slots and senders.
async fn server(client: &Client, expected: &Expectation, findings: &mut Findings) -> Result<(), PgError> {
    let sql = "
        SELECT current_setting('wal_level'), r.rolreplication OR r.rolsuper, current_user::text,
               current_setting('max_replication_slots')::int8 - (SELECT count(*) FROM pg_replication_slots),
               current_setting('max_wal_senders')::int8 - (SELECT count(*) FROM pg_stat_replication),
               (SELECT plugin::text FROM pg_replication_slots WHERE slot_name = $1), pg_is_in_recovery(),
               current_setting('max_slot_wal_keep_size'),
               (SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1)
        FROM pg_roles r WHERE r.rolname = current_user";
    let row = client.query_one(sql, &[&expected.slot]).await?;
    let (level, may_replicate, role): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
    let (slots, senders): (i64, i64) = (row.get(3), row.get(4));
    let (plugin, standby): (Option<String>, bool) = (row.get(5), row.get(6));
    if level != "logical" {
        let remedy = "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server".to_string();
        error(findings, format!("wal_level is {level}, it must be logical"), Some(remedy));
    }
    if !may_replicate {
        let remedy = format!("ALTER ROLE {} REPLICATION;", quote(&role));
        error(findings, format!("the role {role} may not replicate"), Some(remedy));
    }
    match plugin.as_deref() {
        None if slots < 1 => {
            let remedy =
                "ALTER SYSTEM SET max_replication_slots = 10; -- then restart the server".to_string();
            error(findings, "no replication slot is free", Some(remedy));
        }
        Some(plugin) if plugin != "pgoutput" => {
            let what =
                format!("the slot {} uses {plugin}, not pgoutput: it is somebody else's", expected.slot);
            error(findings, what, Some("-- choose another name in database.slot".to_string()));
        }
        _ => {}
    }
    if row.get::<_, Option<&str>>(8) == Some("lost") {
        error(findings, format!("the slot {} has lost its WAL: there is a gap", expected.slot), None);
    }
    if senders < 1 {
        let remedy = "ALTER SYSTEM SET max_wal_senders = 10; -- then restart the server".to_string();
        error(findings, "no WAL sender is free", Some(remedy));
    }
    if standby {
        error(findings, "this server is a standby; point database.url at the primary", None);
    }
    if row.get::<_, &str>(7) == "-1" {
        let remedy = "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();".to_string();
        let what = "max_slot_wal_keep_size is not set: while the sidecar is away, WAL grows without limit";
        warning(findings, what, Some(remedy));
    }
    Ok(())
}

/// One mapped table.
async fn table(client: &Client, needed: &Needed, role: &str, findings: &mut Findings) -> Result<(), PgError> {
    let name = &needed.table;
    let Some(table) = catalog::describe(client, catalog::Which::Name(name), None).await? else {
        if needed.optional {
            warning(findings, format!("the table {name} does not exist; its rules are parked"), None);
        }
        return Ok(());
    };
    if needed.shadow {
        if table.primary_key.is_empty() {
            let remedy = format!("ALTER TABLE {} ADD PRIMARY KEY (…);", name.quoted());
            error(
                findings,
                format!("{name} has no primary key: old values cannot be remembered"),
                Some(remedy),
            );
        }
        readable(client, name, role, findings).await?;
    }
    Ok(())
}

/// SELECT, and the sight of every row.
async fn readable(
    client: &Client,
    name: &TableName,
    role: &str,
    findings: &mut Findings,
) -> Result<(), PgError> {
    let may = client
        .query_one(
            "SELECT has_schema_privilege($1, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[&name.schema, &name.name],
        )
        .await?;
    let (schema, table): (bool, bool) = (may.get(0), may.get(1));
    if !schema || !table {
        let remedy = format!(
            "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON {} TO {role};",
            quote(&name.schema),
            name.quoted(),
            role = quote(role)
        );
        error(findings, format!("the role {role} may not read {name}"), Some(remedy));
    }
    if visibility::sight(client, name).await? == Some(Sight::Partial) {
        let what = format!("row-level security hides rows of {name} from the role {role}");
        error(findings, what, Some(visibility::remedy(name, role)));
    }
    Ok(())
}

/// Our own schema.
async fn ours(
    client: &Client,
    expected: &Expectation,
    role: &str,
    findings: &mut Findings,
) -> Result<(), PgError> {
    let name = TableName::subscriptions(&expected.schema);
    if catalog::describe(client, catalog::Which::Name(&name), None).await?.is_none() {
        error(
            findings,
            format!("the table {name} does not exist"),
            Some("-- run `tailhook migrate`".to_string()),
        );
        return Ok(());
    }
    readable(client, &name, role, findings).await
}

/// The publication, and whether publishing does harm.
async fn published(client: &Client, expected: &Expectation, findings: &mut Findings) -> Result<(), PgError> {
    let mut wanted = vec![Wanted::from(TableName::subscriptions(&expected.schema))];
    let mapped = expected.tables.iter();
    wanted
        .extend(mapped.map(|needed| Wanted { table: needed.table.clone(), insert_only: needed.insert_only }));
    let (wanted, _missing) = publication::existing(client, &wanted).await?;
    let plan = publication::plan(client, &expected.publication, &wanted).await?;
    let mended = plan.mended.iter().map(|mended| mended.remedy_sql.clone());
    let mut missing = plan.sql;
    missing.retain(|statement| !mended.clone().any(|mended| mended == *statement));
    for wrong in plan.refused.into_iter().chain(plan.mended) {
        error(findings, wrong.what, Some(wrong.remedy_sql));
    }
    let name = &expected.publication;
    if !missing.is_empty() {
        let what = if plan.exists {
            format!("the publication {name} lacks tables or options")
        } else {
            format!("the publication {name} does not exist")
        };
        error(findings, what, Some(missing.join(" ")));
    }
    for Superfluous { table, publication } in plan.superfluous {
        let what = format!("the publication {publication} holds {table}, which no rule needs");
        warning(findings, what, Some(harm::drop_sql(&publication, &table)));
    }
    Ok(())
}
