//! Reads an exported snapshot: what the subscriptions and the remembered columns were when the slot was made. Gives values
//! as `to_jsonb` renders them; knows neither shadow nor routing.
use super::error::PgError;
use super::name::{TableName, quote};
use super::session::{Patience, Session};
use super::visibility::{self, Sight};
use tokio_postgres::Row;

/// Rows a call.
const PAGE: usize = 1000;

/// The columns of `webhook_subscriptions`, in the order in which their values are given.
pub const SUBSCRIPTION_COLUMNS: [&str; 9] =
    ["id", "tenant_id", "event", "url", "secret", "active", "created_at", "updated_at", "options"];

/// One row: each value as `to_jsonb(column)::text`, `None` for NULL.
pub type Values = Vec<Option<String>>;

/// A table that the shadow remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowTable {
    /// Which.
    pub table: TableName,
    /// Its primary key's columns, in key order.
    pub key: Vec<String>,
    /// What is remembered.
    pub tracked: Vec<String>,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Values in the order of `SUBSCRIPTION_COLUMNS`.
    Subscriptions(Vec<Values>),
    /// Index into the shadow tables; values of the key, then of the tracked columns.
    Shadow(usize, Vec<Values>),
}

/// A snapshot that is being read, subscriptions first.
#[derive(Debug)]
pub struct Snapshot {
    session: Session,
    /// What is still to be read: cursor statements, the current one last.
    plan: Vec<SnapshotStep>,
    /// Is the current step's cursor open?
    open: bool,
}

#[derive(Debug)]
struct SnapshotStep {
    shadow: Option<usize>,
    select: String,
    row_security: &'static str,
}

impl Snapshot {
    /// Opens `snapshot_name` (exported by the slot's connection, which must stay open) on an own connection.
    /// Fails if any row of any table could be hidden.
    pub async fn open(
        url: &str,
        snapshot_name: &str,
        schema: &str,
        tables: &[ShadowTable],
    ) -> Result<Self, PgError> {
        let session = Session::connect(url, Patience::SNAPSHOT).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            super::name::literal(snapshot_name)
        );
        session.client().batch_execute(&begin).await?;
        let mut plan = Vec::with_capacity(tables.len() + 1);
        for (index, shadow) in tables.iter().enumerate().rev() {
            let columns: Vec<&str> = shadow.key.iter().chain(&shadow.tracked).map(String::as_str).collect();
            plan.push(step(&session, Some(index), &shadow.table, &columns).await?);
        }
        let subscriptions = TableName::subscriptions(schema);
        plan.push(step(&session, None, &subscriptions, &SUBSCRIPTION_COLUMNS).await?);
        Ok(Self { session, plan, open: false })
    }

    /// The next rows, at most 1,000 and never none; `None`: all have been read and the transaction has ended.
    pub async fn next(&mut self) -> Result<Option<Rows>, PgError> {
        while let Some(step) = self.plan.last() {
            if !self.open {
                let declare = format!(
                    "SET LOCAL row_security = {}; DECLARE fill NO SCROLL CURSOR FOR {}",
                    step.row_security, step.select
                );
                self.session.client().batch_execute(&declare).await?;
                self.open = true;
            }
            let fetched = self.session.client().query(&format!("FETCH {PAGE} FROM fill"), &[]).await?;
            let rows: Vec<Values> = fetched.iter().map(values).collect();
            let shadow = step.shadow;
            if rows.len() < PAGE {
                self.session.client().batch_execute("CLOSE fill").await?;
                self.open = false;
                self.plan.pop();
            }
            if !rows.is_empty() {
                return Ok(Some(shadow.map_or_else(
                    || Rows::Subscriptions(rows.clone()),
                    |at| Rows::Shadow(at, rows.clone()),
                )));
            }
        }
        self.session.client().batch_execute("COMMIT").await?;
        Ok(None)
    }
}

/// How a table is read so that a hidden row is an error and never a missing memory.
async fn step(
    session: &Session,
    shadow: Option<usize>,
    table: &TableName,
    columns: &[&str],
) -> Result<SnapshotStep, PgError> {
    let row_security = match visibility::sight(session.client(), table).await? {
        None => {
            return Err(PgError::Setup(format!(
                "the table {table} does not exist{}",
                if shadow.is_none() { "; run `tailhook migrate`" } else { "" }
            )));
        }
        // proves it: Postgres refuses the statement rather than hide a row
        Some(Sight::Whole) => "off",
        Some(Sight::ByPolicy) => "on",
        Some(Sight::Partial) => {
            let role = session.client().query_one("SELECT current_user::text", &[]).await?;
            let role: String = role.get(0);
            return Err(PgError::Privilege(format!(
                "row-level security hides rows of {table} from the role {role}; remedy: {}",
                visibility::remedy(table, &role)
            )));
        }
    };
    Ok(SnapshotStep { shadow, select: select(table, columns), row_security })
}

/// Columns as `to_jsonb` renders them. A partitioned table's rows come with it; an inheriting one's do not: they are not
/// published under its name either.
pub(super) fn select(table: &TableName, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|c| format!("to_jsonb(t.{})::text", quote(c))).collect();
    format!("SELECT {} FROM {} AS t", columns.join(", "), table.quoted())
}

/// The text values of a row.
pub(super) fn values(row: &Row) -> Values {
    (0..row.len()).map(|column| row.get(column)).collect()
}
