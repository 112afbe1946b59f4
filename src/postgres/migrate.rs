//! Brings our schema to this version, and the publication with it: idempotent, versioned, under a lock. Knows no row.
use super::error::PgError;
use super::name::{TableName, literal, quote};
use super::publication::{self, PublicationPlan, Superfluous, Wanted};
use super::session::Session;
use tokio_postgres::{Client, Transaction};

/// In order; what has been applied anywhere is never edited, only followed by another.
const MIGRATIONS: [(i32, &str, &str); 2] = [
    (1, "subscriptions", include_str!("../../migrations/0001_subscriptions.sql")),
    (2, "deliveries", include_str!("../../migrations/0002_deliveries.sql")),
];
/// Two `migrate` at once wait for each other: any number that nobody else uses.
const LOCK: i64 = 0x7461_696c_686f_6f6b;

/// What shall stand.
#[derive(Debug, Clone)]
pub struct MigrationPlan {
    /// `database.schema`.
    pub schema: String,
    /// `database.publication`.
    pub publication: String,
    /// The mapped tables; those that do not exist are left out of the publication.
    pub tables: Vec<Wanted>,
    /// The role of `database.url`, if another one migrates: gets SELECT and sees every row of the subscriptions.
    pub streaming_role: Option<String>,
    /// The role of `database.api_url`: gets SELECT, INSERT, UPDATE under row-level security.
    pub api_role: Option<String>,
}

/// What is to be done, or was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// Statements, in order; empty: nothing to do.
    pub sql: Vec<String>,
    /// Mapped tables that do not exist (rules on them are parked, or refused at start).
    pub missing: Vec<TableName>,
    /// Tables that the publication has and nobody needs.
    pub superfluous: Vec<Superfluous>,
}

/// What is missing, as SQL: what `--print` prints and what `migrate` runs.
pub async fn script(client: &Client, plan: &MigrationPlan) -> Result<Script, PgError> {
    let applied = applied(client, &plan.schema).await?;
    let mut script = Script::default();
    let schema = quote(&plan.schema);
    if !exists(client, "SELECT FROM pg_namespace WHERE nspname = $1", &[&plan.schema]).await? {
        script.sql.push(format!("CREATE SCHEMA {schema};"));
    }
    if applied.is_none() {
        script.sql.push(format!(
            "CREATE TABLE {schema}.tailhook_migrations (version int PRIMARY KEY, name text NOT NULL, \
             applied_at timestamptz NOT NULL DEFAULT now());"
        ));
    }
    for (version, name, sql) in MIGRATIONS {
        if !applied.as_ref().is_some_and(|applied| applied.contains(&version)) {
            script.sql.push(sql.replace("{schema}", &schema));
            let ledger = format!(
                "INSERT INTO {schema}.tailhook_migrations (version, name) VALUES ({version}, {});",
                literal(name)
            );
            script.sql.push(ledger);
        }
    }
    script.sql.extend(grants(client, plan).await?);
    let publication = publish(client, plan, &mut script).await?;
    publication::refuse(&publication)?;
    script.sql.extend(publication.sql);
    script.superfluous = publication.superfluous;
    Ok(script)
}

/// Does all of it in one transaction, or nothing.
pub async fn migrate(session: &mut Session, plan: &MigrationPlan) -> Result<Script, PgError> {
    let transaction = session.client_mut().transaction().await?;
    match run(&transaction, plan).await {
        Ok(script) => {
            transaction.commit().await?;
            Ok(script)
        }
        Err(error) => {
            // at once, so that no lock outlives the answer; what failed says more than a failing rollback
            let _also_failed = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn run(transaction: &Transaction<'_>, plan: &MigrationPlan) -> Result<Script, PgError> {
    transaction.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let script = script(transaction.client(), plan).await?;
    for statement in &script.sql {
        transaction.batch_execute(statement).await.map_err(|error| explain(error.into()))?;
    }
    let (tables, _missing) = wanted(transaction.client(), plan).await?;
    publication::verify(transaction.client(), &plan.publication, &tables).await?;
    Ok(script)
}

fn explain(error: PgError) -> PgError {
    match error {
        PgError::Privilege(why) => PgError::Privilege(format!(
            "{why}; run it with a DBA's role: `tailhook migrate --url postgres://…`, or print the SQL with --print"
        )),
        other => other,
    }
}

/// The versions that have been applied; `None`: no ledger yet. Another's tables are not ours to change.
async fn applied(client: &Client, schema: &str) -> Result<Option<Vec<i32>>, PgError> {
    let table = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2";
    if !exists(client, table, &[&schema, &"tailhook_migrations"]).await? {
        for name in ["webhook_subscriptions", "webhook_deliveries"] {
            if exists(client, table, &[&schema, &name]).await? {
                return Err(PgError::NotYet(format!(
                    "{schema}.{name} exists already: adopting the old module's tables is not supported yet; \
                     set database.schema to another name (default \"tailhook\")"
                )));
            }
        }
        return Ok(None);
    }
    let versions = format!("SELECT version FROM {}.tailhook_migrations", quote(schema));
    let versions = client.query(&versions, &[]).await.map_err(|error| explain(error.into()))?;
    let versions: Vec<i32> = versions.iter().map(|row| row.get(0)).collect();
    let newest = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    match versions.iter().max() {
        Some(max) if *max > newest => Err(PgError::Setup(format!(
            "the schema {schema} was migrated by a newer tailhook (version {max}, this one knows {newest})"
        ))),
        _ => Ok(Some(versions)),
    }
}

/// The publication of the tables that exist; ours counts as existing, for this script makes it.
async fn publish(
    client: &Client,
    plan: &MigrationPlan,
    script: &mut Script,
) -> Result<PublicationPlan, PgError> {
    let (tables, missing) = wanted(client, plan).await?;
    script.missing = missing;
    publication::plan(client, &plan.publication, &tables).await
}

/// What shall be published, and which mapped tables are not there.
async fn wanted(client: &Client, plan: &MigrationPlan) -> Result<(Vec<Wanted>, Vec<TableName>), PgError> {
    let (mut tables, missing) = publication::existing(client, &plan.tables).await?;
    tables.push(TableName::subscriptions(&plan.schema).into());
    // of two that name one table the first is not for inserts alone
    tables.sort();
    tables.dedup_by(|a, b| a.table == b.table);
    Ok((tables, missing))
}

/// Rights of the roles, only where they are missing.
async fn grants(client: &Client, plan: &MigrationPlan) -> Result<Vec<String>, PgError> {
    let schema = quote(&plan.schema);
    let subscriptions = TableName::subscriptions(&plan.schema).quoted();
    let deliveries = TableName::new(&plan.schema, "webhook_deliveries").quoted();
    let mut sql = Vec::new();
    if let Some(role) = &plan.streaming_role {
        let may = rights(client, role, &plan.schema, "SELECT").await?;
        let name = quote(role);
        if !may.enough {
            sql.push(format!("GRANT USAGE ON SCHEMA {schema} TO {name};"));
            // the ledger too: `migrate` says with this role whether there is anything to do
            sql.push(format!("GRANT SELECT ON {subscriptions}, {schema}.tailhook_migrations TO {name};"));
        }
        if !may.sees_all && !may.has_policy {
            sql.push(format!(
                "CREATE POLICY tailhook_streaming ON {subscriptions} FOR SELECT TO {name} USING (true);"
            ));
        }
    }
    if let Some(role) = &plan.api_role
        && !rights(client, role, &plan.schema, "SELECT, INSERT, UPDATE").await?.enough
    {
        let name = quote(role);
        sql.push(format!("GRANT USAGE ON SCHEMA {schema} TO {name};"));
        sql.push(format!("GRANT SELECT, INSERT, UPDATE ON {subscriptions}, {deliveries} TO {name};"));
    }
    Ok(sql)
}

struct Rights {
    enough: bool,
    sees_all: bool,
    has_policy: bool,
}

async fn rights(client: &Client, role: &str, schema: &str, wanted: &str) -> Result<Rights, PgError> {
    let sql = "
        SELECT t.oid IS NOT NULL AND has_schema_privilege(r.oid, t.relnamespace, 'USAGE')
               AND (SELECT bool_and(has_table_privilege(r.oid, t.oid, btrim(w)))
                    FROM regexp_split_to_table($3, ',') AS w),
               r.rolsuper OR r.rolbypassrls,
               EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'tailhook_streaming'
                       AND r.oid = ANY (p.polroles))
        FROM pg_roles r LEFT JOIN (SELECT c.oid, c.relnamespace FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $2 AND c.relname = 'webhook_subscriptions') t ON true
        WHERE r.rolname = $1";
    let row = client.query_opt(sql, &[&role, &schema, &wanted]).await?;
    let row = row.ok_or_else(|| {
        PgError::Setup(format!(
            "the role {role} does not exist; remedy: CREATE ROLE {} LOGIN REPLICATION;",
            quote(role)
        ))
    })?;
    Ok(Rights { enough: row.get(0), sees_all: row.get(1), has_policy: row.get(2) })
}

async fn exists(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<bool, PgError> {
    Ok(!client.query(sql, parameters).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_and_every_table_is_in_the_configured_schema() {
        for (place, (version, name, sql)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(*version as usize, place + 1, "{name}");
            for (line, text) in sql.lines().enumerate().filter(|(_, t)| !t.starts_with("--")) {
                if text.contains("webhook_") && !text.contains("INDEX") {
                    assert!(text.contains("{schema}.webhook_"), "{name}:{line} {text}");
                }
            }
        }
    }
}
