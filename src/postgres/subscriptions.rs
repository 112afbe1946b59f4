//! Writes and reads `webhook_subscriptions` for the API, under row-level security (SPEC 7). Knows no request and no routing.
use super::error::PgError;
use super::name::TableName;
use super::session::{Patience, Session};
use super::snapshot::{SUBSCRIPTION_COLUMNS, Values, select, values};
use crate::domain::{Lsn, Subscription, SubscriptionId, TenantId};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::Transaction;

/// Connections at most.
const MOST: usize = 4;
/// A request waits this long for one of them.
const QUEUE: Duration = Duration::from_secs(5);
/// A request's whole work.
const DEADLINE: Duration = Duration::from_secs(8);
/// An idle connection proves that it lives within this.
const PROBE: Duration = Duration::from_secs(1);
/// Rows of a tenant that a list reads at most.
const MOST_ROWS: i64 = 100_000;

/// Why a write did not happen.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum WriteError {
    /// The tenant has an active subscription for this event and URL.
    #[error("an active subscription for this event and URL exists: {0}")]
    Exists(SubscriptionId),
    /// There is a row of this id: it needs another one, and what is sealed for it is to be sealed anew.
    #[error("the id {0} is taken")]
    IdTaken(SubscriptionId),
    /// The tenant has no such active subscription.
    #[error("there is no such active subscription")]
    Missing,
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] PgError),
}

/// A committed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenSubscription {
    /// `created_at`, Unix microseconds.
    pub created_us: i64,
    /// `updated_at`, Unix microseconds.
    pub updated_us: i64,
    /// Not before this position has the commit been streamed; `None`: the connection was lost after the commit.
    pub lsn: Option<Lsn>,
}

/// A handle on a few connections, made when needed; clones share them.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    inner: Arc<SubscriptionsInner>,
}

#[derive(Debug)]
struct SubscriptionsInner {
    url: String,
    table: TableName,
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
}

impl Subscriptions {
    /// `url` is `database.api_url`, `schema` is `database.schema`. Connects at the first use.
    pub fn new(url: impl Into<String>, schema: &str) -> Self {
        let (url, table) = (url.into(), TableName::subscriptions(schema));
        let (permits, idle) = (Semaphore::new(MOST), Mutex::new(Vec::new()));
        Self { inner: Arc::new(SubscriptionsInner { url, table, permits, idle }) }
    }

    /// Adds an active subscription; its times are the database's.
    pub async fn create(&self, subscription: &Subscription) -> Result<WrittenSubscription, WriteError> {
        let mut lease = self.lease().await?;
        let work = create(&mut lease.session, &self.inner.table, subscription);
        let result = within_deadline(work).await;
        self.give_back(lease, result.as_ref().err());
        result
    }

    /// Deletes softly: `active = false`.
    pub async fn deactivate(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
    ) -> Result<WrittenSubscription, WriteError> {
        let mut lease = self.lease().await?;
        let work = deactivate(&mut lease.session, &self.inner.table, tenant, id);
        let result = within_deadline(work).await;
        self.give_back(lease, result.as_ref().err());
        result
    }

    /// A tenant's active rows, newest first, in the order of `SUBSCRIPTION_COLUMNS`.
    pub async fn active(&self, tenant: &TenantId) -> Result<Vec<Values>, WriteError> {
        let mut lease = self.lease().await?;
        let result = within_deadline(active(&mut lease.session, &self.inner.table, tenant)).await;
        self.give_back(lease, result.as_ref().err());
        result
    }

    /// A connection that answers: an idle one, or a new one.
    async fn lease(&self) -> Result<Lease<'_>, PgError> {
        let busy = || PgError::Busy("all database connections of the API are in use".into());
        let permit = tokio::time::timeout(QUEUE, self.inner.permits.acquire()).await.map_err(|_| busy())?;
        let permit = permit.map_err(|_| busy())?;
        loop {
            let idle = self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(session) = idle else {
                let session = Session::connect(&self.inner.url, Patience::REQUEST).await?;
                return Ok(Lease { session, _permit: permit });
            };
            let answer = tokio::time::timeout(PROBE, session.client().batch_execute("")).await;
            if matches!(answer, Ok(Ok(()))) {
                return Ok(Lease { session, _permit: permit });
            }
        }
    }

    /// A connection that broke, or that may still be busy, is closed.
    fn give_back(&self, lease: Lease<'_>, error: Option<&WriteError>) {
        let broken = matches!(error, Some(WriteError::Database(e)) if e.is_unreachable());
        if !broken && !lease.session.client().is_closed() {
            self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lease.session);
        }
    }
}

struct Lease<'a> {
    session: Session,
    _permit: SemaphorePermit<'a>,
}

/// A server that vanished answers nothing at all: `statement_timeout` is its own and does not help then.
async fn within_deadline<T>(work: impl Future<Output = Result<T, WriteError>>) -> Result<T, WriteError> {
    let late = || PgError::Unreachable("the database does not answer".into());
    tokio::time::timeout(DEADLINE, work).await.map_err(|_| late())?
}

/// Both settings, for this transaction only: the policies read either.
pub(super) async fn begin<'a>(
    session: &'a mut Session,
    tenant: &TenantId,
) -> Result<Transaction<'a>, PgError> {
    let transaction = session.client_mut().transaction().await?;
    let set = "SELECT set_config('app.current_tenant_id', $1, true), set_config('app.tenant_id', $1, true)";
    transaction.execute(set, &[&tenant.as_str()]).await?;
    Ok(transaction)
}

async fn create(
    session: &mut Session,
    table: &TableName,
    new: &Subscription,
) -> Result<WrittenSubscription, WriteError> {
    let transaction = begin(session, &new.tenant).await?;
    let (tenant, event) = (new.tenant.as_str(), new.pattern.to_string());
    // two requests for the same wait for each other; a unique index would refuse rows that the ERP may write
    let wish = format!("tailhook\u{1}{tenant}\u{1}{event}\u{1}{}", new.url);
    transaction
        .execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&wish])
        .await
        .map_err(PgError::from)?;
    let table = table.quoted();
    let same =
        format!("SELECT id FROM {table} WHERE tenant_id = $1 AND event = $2 AND url = $3 AND active LIMIT 1");
    if let Some(row) =
        transaction.query_opt(&same, &[&tenant, &event, &new.url]).await.map_err(PgError::from)?
    {
        return Err(WriteError::Exists(SubscriptionId(row.get(0))));
    }
    let options = serde_json::to_value(&new.options).unwrap_or_default();
    let secret = new.secret.as_ref().map(crate::domain::Sealed::as_str);
    let insert = format!(
        "INSERT INTO {table} (id, tenant_id, event, url, secret, active, created_at, updated_at, options)
         SELECT $1, $2, $3, $4, $5, true, clock_timestamp(), clock_timestamp(), $6
         WHERE NOT EXISTS (SELECT FROM {table} WHERE id = $1) RETURNING {TIMES}"
    );
    let row = transaction
        .query_opt(&insert, &[&new.id.0, &tenant, &event, &new.url, &secret, &options])
        .await
        .map_err(PgError::from)?;
    let row = row.ok_or(WriteError::IdTaken(new.id))?;
    let times = (row.get(0), row.get(1));
    transaction.commit().await.map_err(PgError::from)?;
    Ok(written(session, times).await)
}

async fn deactivate(
    session: &mut Session,
    table: &TableName,
    tenant: &TenantId,
    id: SubscriptionId,
) -> Result<WrittenSubscription, WriteError> {
    let transaction = begin(session, tenant).await?;
    let update = format!(
        "UPDATE {} SET active = false, updated_at = clock_timestamp()
         WHERE id = $1 AND tenant_id = $2 AND active RETURNING {TIMES}",
        table.quoted()
    );
    let row = transaction.query_opt(&update, &[&id.0, &tenant.as_str()]).await.map_err(PgError::from)?;
    let row = row.ok_or(WriteError::Missing)?;
    let times = (row.get(0), row.get(1));
    transaction.commit().await.map_err(PgError::from)?;
    Ok(written(session, times).await)
}

async fn active(
    session: &mut Session,
    table: &TableName,
    tenant: &TenantId,
) -> Result<Vec<Values>, WriteError> {
    let transaction = begin(session, tenant).await?;
    let sql = format!(
        "{} WHERE t.tenant_id = $1 AND t.active ORDER BY t.created_at DESC, t.id DESC LIMIT {MOST_ROWS}",
        select(table, &SUBSCRIPTION_COLUMNS)
    );
    let rows = transaction.query(&sql, &[&tenant.as_str()]).await.map_err(PgError::from)?;
    Ok(rows.iter().map(values).collect())
}

const TIMES: &str =
    "(extract(epoch FROM created_at) * 1000000)::int8, (extract(epoch FROM updated_at) * 1000000)::int8";

/// The insert position after the commit is at or beyond the commit's end. The write stands whatever becomes of this lookup.
async fn written(session: &Session, (created_us, updated_us): (i64, i64)) -> WrittenSubscription {
    let lsn = session.client().query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await;
    let lsn = lsn.ok().and_then(|row| row.get::<_, &str>(0).parse().ok());
    WrittenSubscription { created_us, updated_us, lsn }
}
