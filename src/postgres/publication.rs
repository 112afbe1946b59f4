//! The publication: what is missing, what is too much, and which table must not be in it (SPEC 5.9). Never FOR ALL TABLES,
//! never row filters.
use super::error::PgError;
use super::name::{TableName, quote};
use super::session::Session;
use tokio_postgres::{Client, Row};

const OPTIONS: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";

/// The publication as it stands beside what it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicationPlan {
    /// There is one of that name.
    pub exists: bool,
    /// Statements that make it right; empty: it is.
    pub sql: Vec<String>,
    /// Published, but neither mapped nor ours.
    pub superfluous: Vec<String>,
    /// Why we cannot use it or must not touch a table, each with its remedy.
    pub refused: Vec<Refusal>,
}

/// One reason with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub what: String,
    /// The SQL that mends it.
    pub remedy_sql: String,
}

const PUBLICATION: &str = "
SELECT oid, puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AND pubviaroot
FROM pg_publication WHERE pubname = $1";

const MEMBERS: &str = "
SELECT n.nspname::text, c.relname::text, to_jsonb(pr) ->> 'prqual' IS NOT NULL AS filtered
FROM pg_publication_rel pr JOIN pg_class c ON c.oid = pr.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE pr.prpubid = $1 ORDER BY 1, 2";

/// The table itself and, of a partitioned one, every leaf: updates are checked there.
const IDENTITIES: &str = "
SELECT n.nspname::text, l.relname::text, l.relkind, l.relpersistence, l.relreplident,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisreplident),
       (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = l.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
          AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) AS k(attnum)
            JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = k.attnum WHERE NOT a.attnotnull)
        ORDER BY x.relname LIMIT 1)
FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT c.oid AS relid WHERE c.relkind <> 'p'
                    UNION ALL SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.isleaf) leaf
JOIN pg_class l ON l.oid = leaf.relid JOIN pg_namespace n ON n.oid = l.relnamespace
WHERE s.nspname = $1 AND c.relname = $2";

/// Compares the publication with the mapped tables that exist, and our own.
pub async fn plan(client: &Client, name: &str, tables: &[TableName]) -> Result<PublicationPlan, PgError> {
    let mut plan = PublicationPlan::default();
    for table in tables {
        let leaves = client.query(IDENTITIES, &[&table.schema, &table.name]).await?;
        plan.refused.extend(leaves.iter().filter_map(refusal));
    }
    let Some(found) = client.query_opt(PUBLICATION, &[&name]).await? else {
        plan.sql.push(create_sql(name, tables));
        return Ok(plan);
    };
    plan.exists = true;
    if found.get(1) {
        plan.refused.push(Refusal {
            what: format!("the publication {name} is FOR ALL TABLES: it would burden every table of the ERP"),
            remedy_sql: format!("DROP PUBLICATION {};", quote(name)),
        });
        return Ok(plan);
    }
    let members = client.query(MEMBERS, &[&found.get::<_, u32>(0)]).await?;
    let member = |row: &Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    for row in members.iter().filter(|row| row.get(2)) {
        let table = member(row);
        plan.refused.push(Refusal {
            what: format!("the publication {name} filters the rows of {table}: events would be missing"),
            remedy_sql: format!(
                "ALTER PUBLICATION {0} DROP TABLE {1}; ALTER PUBLICATION {0} ADD TABLE {1};",
                quote(name),
                table.quoted()
            ),
        });
    }
    let members: Vec<TableName> = members.iter().map(member).collect();
    let missing: Vec<&TableName> = tables.iter().filter(|table| !members.contains(table)).collect();
    if !missing.is_empty() {
        plan.sql.push(format!("ALTER PUBLICATION {} ADD TABLE {};", quote(name), list(&missing)));
    }
    if !found.get::<_, bool>(2) {
        plan.sql.push(format!("ALTER PUBLICATION {} SET ({OPTIONS});", quote(name)));
    }
    plan.superfluous = members.iter().filter(|m| !tables.contains(m)).map(ToString::to_string).collect();
    Ok(plan)
}

/// Parts named tables into those that exist and those that do not.
pub async fn existing(
    client: &Client,
    tables: &[TableName],
) -> Result<(Vec<TableName>, Vec<TableName>), PgError> {
    let sql = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2";
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for table in tables {
        let exists = client.query_opt(sql, &[&table.schema, &table.name]).await?.is_some();
        if exists { found.push(table.clone()) } else { missing.push(table.clone()) }
    }
    Ok((found, missing))
}

/// The SQL that makes a publication of these tables.
pub fn create_sql(name: &str, tables: &[TableName]) -> String {
    let all: Vec<&TableName> = tables.iter().collect();
    let tables = if all.is_empty() { String::new() } else { format!(" FOR TABLE {}", list(&all)) };
    format!("CREATE PUBLICATION {}{tables} WITH ({OPTIONS});", quote(name))
}

/// Makes the publication right where the role may; otherwise the error holds the SQL. Tables that do not exist are left out;
/// `tables` names the subscriptions too. Gives what it did.
pub async fn ensure(
    session: &mut Session,
    name: &str,
    tables: &[TableName],
) -> Result<PublicationPlan, PgError> {
    let (tables, _missing) = existing(session.client(), tables).await?;
    let plan = plan(session.client(), name, &tables).await?;
    if !plan.refused.is_empty() {
        return Err(refused(&plan.refused));
    }
    if plan.sql.is_empty() {
        return Ok(plan);
    }
    let transaction = session.client_mut().transaction().await?;
    for statement in &plan.sql {
        if let Err(error) = transaction.batch_execute(statement).await {
            let _also_failed = transaction.rollback().await;
            return Err(explain(error, &plan));
        }
    }
    transaction.commit().await?;
    Ok(plan)
}

fn explain(error: tokio_postgres::Error, plan: &PublicationPlan) -> PgError {
    match PgError::from(error) {
        PgError::Privilege(why) => PgError::Privilege(format!(
            "the publication cannot be made with this role ({why}); run `tailhook migrate --url <a DBA's>`, or: {}",
            plan.sql.join(" ")
        )),
        other => other,
    }
}

/// All refusals as one error.
pub fn refused(refusals: &[Refusal]) -> PgError {
    let lines: Vec<String> =
        refusals.iter().map(|r| format!("{}; remedy: {}", r.what, r.remedy_sql)).collect();
    PgError::Setup(lines.join("\n"))
}

fn list(tables: &[&TableName]) -> String {
    tables.iter().map(|table| table.quoted()).collect::<Vec<_>>().join(", ")
}

/// Would publishing this table (or leaf) make its updates and deletes fail, or not work at all?
fn refusal(row: &Row) -> Option<Refusal> {
    let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    let (kind, persistence, identity) =
        (row.get::<_, i8>(2) as u8, row.get::<_, i8>(3) as u8, row.get::<_, i8>(4) as u8);
    if kind != b'r' {
        let what = format!("{table} is no ordinary table: it cannot be published");
        return Some(Refusal { what, remedy_sql: "-- map the table below it instead".into() });
    }
    if persistence != b'p' {
        let what = format!("{table} is not logged (UNLOGGED or TEMPORARY): it cannot be published");
        return Some(Refusal { what, remedy_sql: format!("ALTER TABLE {} SET LOGGED;", table.quoted()) });
    }
    let (has_key, has_index, unique): (bool, bool, Option<String>) = (row.get(5), row.get(6), row.get(7));
    let why = match identity {
        b'd' if !has_key => "has no primary key",
        b'n' => "has REPLICA IDENTITY NOTHING",
        b'i' if !has_index => "has lost the index of its REPLICA IDENTITY",
        _ => return None,
    };
    let identity = match unique {
        _ if has_key => "DEFAULT".to_string(),
        Some(index) => format!("USING INDEX {}", quote(&index)),
        None => "FULL".to_string(),
    };
    Some(Refusal {
        what: format!("{table} {why}: once it is published, its updates and deletes would fail"),
        remedy_sql: format!("ALTER TABLE {} REPLICA IDENTITY {identity};", table.quoted()),
    })
}
