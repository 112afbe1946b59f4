//! One connection for ordinary SQL. Owns the task that drives it. Knows no table.
use super::error::PgError;
use super::url::DatabaseUrl;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// A connection; dropped, it is closed.
#[derive(Debug)]
pub struct Session {
    client: Client,
    _driver: JoinSet<()>,
}

/// What a session is for: how long it may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// TCP, login and all.
    pub connect: Duration,
    /// `statement_timeout`; zero: none.
    pub statement: Duration,
    /// `lock_timeout`; zero: none.
    pub lock: Duration,
}

impl Patience {
    /// For requests that somebody waits for.
    pub const REQUEST: Self = Self {
        connect: Duration::from_secs(3),
        statement: Duration::from_secs(5),
        lock: Duration::from_secs(2),
    };
    /// For lookups, checks and migrations.
    pub const ADMIN: Self = Self {
        connect: Duration::from_secs(10),
        statement: Duration::from_secs(60),
        lock: Duration::from_secs(5),
    };
    /// For snapshots, which read whole tables.
    pub const SNAPSHOT: Self =
        Self { connect: Duration::from_secs(10), statement: Duration::ZERO, lock: Duration::from_secs(5) };
}

impl Session {
    /// Connects and sets everything that the rendering of values depends on.
    pub async fn connect(url: &str, patience: Patience) -> Result<Self, PgError> {
        let mut config = DatabaseUrl::parse(url)?.config().clone();
        config.connect_timeout(patience.connect).application_name("tailhook");
        let late = || unreached("the database cannot be reached: no answer in time");
        let opened = tokio::time::timeout(patience.connect, config.connect(NoTls)).await;
        let (client, connection) =
            opened.map_err(|_| late())?.map_err(|error| match PgError::from(error) {
                PgError::Unreachable(why) => unreached(&why),
                other => other,
            })?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        let set = settings(patience);
        tokio::time::timeout(patience.connect, client.batch_execute(&set)).await.map_err(|_| late())??;
        Ok(Self { client, _driver: driver })
    }
    /// For statements.
    pub fn client(&self) -> &Client {
        &self.client
    }
    /// For transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }
    /// `server_version_num`: 150018.
    pub async fn version(&self) -> Result<i32, PgError> {
        let row = self.client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await?;
        Ok(row.get(0))
    }
}

/// There is no connection yet, so its address may be what is wrong.
fn unreached(why: &str) -> PgError {
    PgError::Unreachable(format!("{why}; is it running, and are host and port of database.url right?"))
}

/// The statements are ours and schema-qualified; the search path lends no name to anybody's function.
fn settings(patience: Patience) -> String {
    format!(
        "SET search_path = pg_catalog, pg_temp; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
         SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 3; \
         SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        patience.statement.as_millis(),
        patience.lock.as_millis(),
        if patience.statement.is_zero() { 0 } else { patience.statement.as_millis() + 5000 },
    )
}
