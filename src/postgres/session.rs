//! One connection for ordinary SQL. Owns the task that drives it. Knows no table.
use super::error::PgError;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

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
        let mut config = config(url)?;
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

/// Reads a connection string. No TLS yet: what asks for it is refused, never downgraded.
pub fn config(url: &str) -> Result<Config, PgError> {
    let (rest, mode) = take_sslmode(url);
    match mode.as_deref() {
        None | Some("disable" | "allow" | "prefer") => {}
        Some(mode @ ("require" | "verify-ca" | "verify-full")) => {
            return Err(PgError::NotYet(format!(
                "sslmode={mode} is not supported yet: use a Unix socket, or sslmode=prefer on a network that you trust"
            )));
        }
        Some(_) => {
            return Err(PgError::Setup(
                "database.url: sslmode must be disable, allow, prefer, require, verify-ca or verify-full"
                    .into(),
            ));
        }
    }
    // the text holds a password: only the parser's own words are repeated
    let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        PgError::Setup(format!("database.url cannot be read: {cause}"))
    })?;
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    Ok(config)
}

/// Takes `sslmode` out of either form of connection string: the client crate knows not all of its words.
fn take_sslmode(url: &str) -> (String, Option<String>) {
    let mut mode = None;
    let mut keep = |pair: &&str| match pair.strip_prefix("sslmode=") {
        Some(value) => {
            mode = Some(value.trim_matches('\'').to_ascii_lowercase());
            false
        }
        None => true,
    };
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let rest = if !is_url {
        url.split_whitespace().filter(&mut keep).collect::<Vec<_>>().join(" ")
    } else if let Some((base, query)) = url.split_once('?') {
        let kept: Vec<&str> = query.split('&').filter(&mut keep).collect();
        if kept.is_empty() { base.to_string() } else { format!("{base}?{}", kept.join("&")) }
    } else {
        url.to_string()
    };
    (rest, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_url_and_every_sslmode() {
        for good in [
            "postgres://u:p@127.0.0.1:5432/erp?sslmode=prefer",
            "postgresql://u@h/erp?connect_timeout=3&sslmode=disable",
            "postgres://u@%2Fvar%2Frun/erp",
            "host=/var/run user=u dbname=erp sslmode=allow",
        ] {
            assert!(config(good).is_ok(), "{good}");
        }
        for strict in ["require", "verify-ca", "verify-full"] {
            for url in
                [format!("postgres://u:p@h/erp?sslmode={strict}"), format!("host=h user=u sslmode={strict}")]
            {
                assert!(matches!(config(&url), Err(PgError::NotYet(_))), "{url}");
            }
        }
        for bad in
            ["postgres://u:hunter2@h/erp?sslmode=maybe", "postgres://u:hunter2@h/erp?colour=red", "hunter2"]
        {
            let error = config(bad).unwrap_err();
            assert!(matches!(error, PgError::Setup(_)), "{bad}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn sslmode_is_taken_out_and_the_rest_stays() {
        for (url, rest, mode) in [
            ("postgres://u@h/d", "postgres://u@h/d", None),
            ("postgres://u@h/d?sslmode=Prefer", "postgres://u@h/d", Some("prefer")),
            ("postgresql://u@h/d?a=1&sslmode=disable&b=2", "postgresql://u@h/d?a=1&b=2", Some("disable")),
            ("host=h  sslmode='require' user=u", "host=h user=u", Some("require")),
            ("host=h user=u?sslmode=x", "host=h user=u?sslmode=x", None),
        ] {
            assert_eq!(take_sslmode(url), (rest.into(), mode.map(Into::into)), "{url}");
        }
    }

    #[test]
    fn an_idle_transaction_is_borne_for_longer_than_a_statement() {
        let text = |statement, lock| {
            let (statement, lock) = (Duration::from_millis(statement), Duration::from_millis(lock));
            settings(Patience { statement, lock, ..Patience::ADMIN })
        };
        assert!(text(700, 30).ends_with(
            "statement_timeout = 700; SET lock_timeout = 30; SET idle_in_transaction_session_timeout = 5700"
        ));
        assert!(text(0, 30).ends_with(
            "statement_timeout = 0; SET lock_timeout = 30; SET idle_in_transaction_session_timeout = 0"
        ));
    }
}
