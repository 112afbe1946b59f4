//! A connection to the throw-away database. Knows no table.
use anyhow::Context;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// A connection; dropped, it is closed.
#[derive(Debug)]
pub struct Database {
    client: Client,
    _driver: JoinSet<()>,
}

impl Database {
    /// Connects.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.context("the throw-away Postgres cannot be reached")?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The statement that was under way reports it.
            let _ = connection.await;
        });
        Ok(Self { client, _driver: driver })
    }
    /// Runs statements that answer nothing.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        self.client.batch_execute(sql).await.with_context(|| {
            format!("Postgres refuses: {}", sql.trim_start().lines().next().unwrap_or_default())
        })
    }
    /// For queries.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
