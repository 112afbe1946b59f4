//! Purpose: the two publications as they stand beside what they should be (SPEC 5.9): every mapped table, and nothing that
//! would make a write of the ERP fail. `harm` judges; here it is decided what follows.
//! Must not: publish a schema, all tables, filtered rows, or a table by inheritance.
use super::error::PgError;
use super::harm::{self, Held, SCHEMAS, Server};
use super::name::{TableName, literal, quote};
use super::session::Session;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Of tables with rules of every kind.
const OPTIONS: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
/// Of tables without a replica identity, of which only inserts are read: their updates and deletes stay free.
const INSERT_OPTIONS: &str = "publish = 'insert', publish_via_partition_root = true";
const INSERT: &str = "_insert";
/// Says in the WAL from where on the second publication exists; capture reads it.
pub const MADE: &str = "tailhook.publication";

/// A table that shall be published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Which.
    pub table: TableName,
    /// Only insert rules read it.
    pub insert_only: bool,
}

impl From<TableName> for Wanted {
    fn from(table: TableName) -> Self {
        Self { table, insert_only: false }
    }
}

/// The publications as they stand beside what they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicationPlan {
    /// There is one of that name.
    pub exists: bool,
    /// Statements that make it right; empty: it is.
    pub sql: Vec<String>,
    /// What is wrong now and mended by `sql`.
    pub mended: Vec<Refusal>,
    /// Published, but neither mapped nor ours, and without harm.
    pub superfluous: Vec<Superfluous>,
    /// Why we cannot use it or must not touch a table, each with its remedy.
    pub refused: Vec<Refusal>,
}

/// A published table that no rule needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superfluous {
    /// Which.
    pub table: TableName,
    /// Where.
    pub publication: String,
}

/// One reason with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub what: String,
    /// The SQL that mends it.
    pub remedy_sql: String,
}

/// The name of the publication of inserts.
pub fn insert_name(name: &str) -> String {
    format!("{name}{INSERT}")
}

/// A publication as it stands.
#[derive(Debug)]
struct Standing {
    all_tables: bool,
    options_right: bool,
    sends_stored: bool,
    schemas: Vec<String>,
}

const STANDING: &str = "
SELECT p.pubname::text, p.puballtables, p.pubinsert AND p.pubviaroot
         AND CASE WHEN p.pubname = $2 THEN NOT (p.pubupdate OR p.pubdelete OR p.pubtruncate) ELSE p.pubupdate AND p.pubdelete AND p.pubtruncate END,
       to_jsonb(p) ->> 'pubgencols' = 's' IS TRUE, {SCHEMAS}
FROM pg_publication p WHERE p.pubname IN ($1, $2)";

const SCHEMAS_OF: &str =
    "ARRAY(SELECT n.nspname::text FROM pg_publication_namespace s JOIN pg_namespace n ON n.oid = s.pnnspid
        WHERE s.pnpubid = p.oid ORDER BY 1)";

async fn standing(
    client: &Client,
    version: i32,
    names: [&str; 2],
) -> Result<BTreeMap<String, Standing>, PgError> {
    let schemas = if version >= SCHEMAS { SCHEMAS_OF } else { "'{}'::text[]" };
    let rows = client.query(&STANDING.replace("{SCHEMAS}", schemas), &[&names[0], &names[1]]).await?;
    let read = |row: &tokio_postgres::Row| {
        let (all_tables, options_right, sends_stored) = (row.get(1), row.get(2), row.get(3));
        (row.get(0), Standing { all_tables, options_right, sends_stored, schemas: row.get(4) })
    };
    Ok(rows.iter().map(read).collect())
}

/// Compares the publications with the mapped tables that exist, and our own.
pub async fn plan(client: &Client, name: &str, wanted: &[Wanted]) -> Result<PublicationPlan, PgError> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await?.get(0);
    let insert = insert_name(name);
    let standing = standing(client, version, [name, &insert]).await?;
    let tables: Vec<TableName> = wanted.iter().map(|wanted| wanted.table.clone()).collect();
    let held = harm::held(client, version, &[name, &insert], &tables).await?;
    let sends_stored = standing.get(name).is_some_and(|main| main.sends_stored);
    let mut draft = Draft { main: name, insert: &insert, standing, plan: PublicationPlan::default() };
    draft.fill(&held, wanted, Server { version, sends_stored });
    Ok(draft.plan)
}

/// A plan in the making.
struct Draft<'a> {
    main: &'a str,
    insert: &'a str,
    standing: BTreeMap<String, Standing>,
    plan: PublicationPlan,
}

impl Draft<'_> {
    fn fill(&mut self, held: &[Held], wanted: &[Wanted], server: Server) {
        self.plan.exists = self.standing.contains_key(self.main);
        for name in [self.main, self.insert] {
            if self.standing.get(name).is_some_and(|standing| standing.all_tables) {
                self.plan.refused.push(Refusal {
                    what: format!(
                        "the publication {name} is FOR ALL TABLES: it would burden every table of the ERP"
                    ),
                    remedy_sql: format!("DROP PUBLICATION {};", quote(name)),
                });
                return;
            }
        }
        self.schemas(held, server);
        let (mut whole, mut inserts) = (Vec::new(), Vec::new());
        for wanted in wanted {
            // our own table may not be there yet: it has a key
            let facts = held.iter().find(|held| held.table() == wanted.table);
            match facts.map(|facts| self.place(facts, wanted, server)) {
                None | Some(Membership::Whole) => whole.push((&wanted.table, facts)),
                Some(Membership::Inserts) => inserts.push((&wanted.table, facts)),
                Some(Membership::Nowhere) => {}
            }
        }
        for held in held.iter().filter(|held| !wanted.iter().any(|wanted| wanted.table == held.table())) {
            self.unwanted(held, server);
        }
        self.members(self.main, self.insert, &whole);
        self.members(self.insert, self.main, &inserts);
    }

    /// Others added a schema: its tables go, those that are wanted are added by name.
    fn schemas(&mut self, held: &[Held], server: Server) {
        for (name, standing) in &self.standing {
            for schema in &standing.schemas {
                let in_it = held.iter().filter(|held| held.table().schema == *schema);
                let harmed = in_it.filter(|held| name == self.main && !held.harm(name, server).is_empty());
                let harmed: Vec<String> = harmed.map(|held| held.table().to_string()).collect();
                let harm = if harmed.is_empty() {
                    "later tables without a key would fail".to_owned()
                } else {
                    format!("updates and deletes fail of {}", harmed.join(", "))
                };
                let sql =
                    format!("ALTER PUBLICATION {} DROP TABLES IN SCHEMA {};", quote(name), quote(schema));
                self.plan.sql.push(sql.clone());
                let what = format!("the publication {name} holds the whole schema {schema}: {harm}");
                self.plan.mended.push(Refusal { what, remedy_sql: sql });
            }
        }
    }

    /// Where a wanted table belongs.
    fn place(&mut self, facts: &Held, wanted: &Wanted, server: Server) -> Membership {
        let table = &wanted.table;
        let mut refused = facts.unfit();
        for member in facts.members.iter().filter(|member| member.filtered) {
            let what = format!(
                "the publication {} filters the rows of {table}: events would be missing",
                member.publication
            );
            refused.push(Refusal { what, remedy_sql: harm::renew_sql(&member.publication, table) });
        }
        if !refused.is_empty() {
            self.plan.refused.append(&mut refused);
            return Membership::Nowhere;
        }
        let mut harm = facts.harm(self.main, server);
        if harm.is_empty() {
            return Membership::Whole;
        }
        if wanted.insert_only {
            return Membership::Inserts;
        }
        self.plan.refused.append(&mut harm);
        Membership::Nowhere
    }

    /// Nobody needs it: with harm it goes, without it is named.
    fn unwanted(&mut self, held: &Held, server: Server) {
        let table = held.table();
        let harm = held.harm(self.main, server);
        for name in [self.main, self.insert] {
            if !held.is_named_by(name) {
                continue;
            }
            if name == self.main && !harm.is_empty() {
                let sql = harm::drop_sql(name, &table);
                self.plan.sql.push(sql.clone());
                let why = harm.iter().map(|refusal| refusal.what.as_str()).collect::<Vec<_>>().join("; ");
                let what = format!("the publication {name} holds {table}, which no rule needs: {why}");
                self.plan.mended.push(Refusal { what, remedy_sql: sql });
            } else {
                self.plan
                    .superfluous
                    .push(Superfluous { table: table.clone(), publication: name.to_owned() });
            }
        }
    }

    /// Makes one publication hold exactly what belongs there, by name.
    fn members(&mut self, name: &str, other: &str, tables: &[(&TableName, Option<&Held>)]) {
        for (table, held) in tables {
            if held.is_some_and(|held| held.is_named_by(other)) {
                let sql = harm::drop_sql(other, table);
                self.plan.sql.push(sql.clone());
                let what = format!("the publication {other} holds {table}, which belongs into {name}");
                self.plan.mended.push(Refusal { what, remedy_sql: sql });
            }
        }
        let named = |held: Option<&Held>| held.is_some_and(|held| held.is_named_by(name));
        let missing: Vec<&TableName> =
            tables.iter().filter(|(_, held)| !named(*held)).map(|(table, _)| *table).collect();
        let Some(standing) = self.standing.get(name) else {
            self.create(name, &missing);
            return;
        };
        if !missing.is_empty() {
            self.plan.sql.push(format!("ALTER PUBLICATION {} ADD TABLE {};", quote(name), only(&missing)));
        }
        if !standing.options_right {
            let options = if name == self.main { OPTIONS } else { INSERT_OPTIONS };
            self.plan.sql.push(format!("ALTER PUBLICATION {} SET ({options});", quote(name)));
        }
    }

    fn create(&mut self, name: &str, tables: &[&TableName]) {
        if name == self.main {
            self.plan.sql.push(create_sql(name, tables, OPTIONS));
        } else if !tables.is_empty() || !self.plan.exists {
            // beside a new publication it is made empty: what is read later can then rely on it
            self.plan.sql.push(create_sql(name, tables, INSERT_OPTIONS));
            let made = format!("SELECT pg_logical_emit_message(true, {}, {});", literal(MADE), literal(name));
            self.plan.sql.push(made);
        }
    }
}

enum Membership {
    Whole,
    Inserts,
    Nowhere,
}

fn create_sql(name: &str, tables: &[&TableName], options: &str) -> String {
    let tables = if tables.is_empty() { String::new() } else { format!(" FOR TABLE {}", only(tables)) };
    format!("CREATE PUBLICATION {}{tables} WITH ({options});", quote(name))
}

/// Never the inheritors: they are tables of their own, with keys of their own or none.
fn only(tables: &[&TableName]) -> String {
    tables.iter().map(|table| format!("ONLY {}", table.quoted())).collect::<Vec<_>>().join(", ")
}

/// Parts named tables into those that exist and those that do not.
pub async fn existing(client: &Client, tables: &[Wanted]) -> Result<(Vec<Wanted>, Vec<TableName>), PgError> {
    let sql = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2";
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for wanted in tables {
        let table = &wanted.table;
        let exists = client.query_opt(sql, &[&table.schema, &table.name]).await?.is_some();
        if exists { found.push(wanted.clone()) } else { missing.push(table.clone()) }
    }
    Ok((found, missing))
}

/// Makes the publications right where the role may; otherwise the error holds the SQL. Tables that do not exist are left out;
/// `wanted` names the subscriptions too. Gives what it did.
pub async fn ensure(
    session: &mut Session,
    name: &str,
    wanted: &[Wanted],
) -> Result<PublicationPlan, PgError> {
    let (wanted, _missing) = existing(session.client(), wanted).await?;
    let plan = plan(session.client(), name, &wanted).await?;
    refuse(&plan)?;
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
    if let Err(error) = verify(transaction.client(), name, &wanted).await {
        let _also_failed = transaction.rollback().await;
        return Err(error);
    }
    transaction.commit().await?;
    Ok(plan)
}

/// Judges again what is about to be committed: the tables are locked now, so what DDL did meanwhile is seen.
pub(super) async fn verify(client: &Client, name: &str, wanted: &[Wanted]) -> Result<(), PgError> {
    refuse(&plan(client, name, wanted).await?)
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
pub fn refuse(plan: &PublicationPlan) -> Result<(), PgError> {
    if plan.refused.is_empty() {
        return Ok(());
    }
    let line = |refusal: &Refusal| format!("{}; remedy: {}", refusal.what, refusal.remedy_sql);
    Err(PgError::Setup(plan.refused.iter().map(line).collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests;
