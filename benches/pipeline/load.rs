//! Commits, and the requests that come of them.
use anyhow::Context;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tailhook_demo::database::Database;
use tailhook_demo::random;
use tailhook_demo::receiver::Received;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use uuid::Uuid;

const INSERT: &str = "INSERT INTO invoices (id, number, supplier, issue_date, amount, status, tenant_id, customer_id, \
    subtotal, vat, total) VALUES ($1, 'F-1', 'own', '2026-02-14', 121, 'draft', $2, NULL, 100, 21, 121)";

/// Invoices and when their COMMIT had returned.
pub(crate) type Committed = HashMap<Uuid, Instant>;

/// Open connections.
pub(crate) struct Load {
    connections: Vec<Arc<Database>>,
    tenant: Uuid,
}

impl Load {
    /// Connects.
    pub(crate) async fn open(url: &str, tenant: &str, connections: usize) -> anyhow::Result<Self> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Arc::new(Database::connect(url).await?));
        }
        Ok(Self { connections: open, tenant: tenant.parse()? })
    }
    /// So many single-row commits as fast as they go, and how long they took.
    pub(crate) async fn burst(&self, commits: usize) -> anyhow::Result<(Committed, Duration)> {
        let each = commits / self.connections.len();
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for database in &self.connections {
            tasks.spawn(insert(database.clone(), self.tenant, each, None));
        }
        let mut committed = HashMap::new();
        while let Some(done) = tasks.join_next().await {
            committed.extend(done??);
        }
        Ok((committed, began.elapsed()))
    }
    /// So many, one at a time.
    pub(crate) async fn steady(&self, commits: usize, every: Duration) -> anyhow::Result<Committed> {
        let database = self.connections.first().context("no connection")?;
        insert(database.clone(), self.tenant, commits, Some(every)).await
    }
}

async fn insert(
    database: Arc<Database>,
    tenant: Uuid,
    commits: usize,
    every: Option<Duration>,
) -> anyhow::Result<Committed> {
    let statement = database.client().prepare(INSERT).await?;
    let mut pace = every.map(interval);
    let mut committed = HashMap::with_capacity(commits);
    for _ in 0..commits {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let id = uuid::Builder::from_random_bytes(random::from_system()?).into_uuid();
        database.client().execute(&statement, &[&id, &tenant]).await?;
        committed.insert(id, Instant::now());
    }
    Ok(committed)
}

/// What arrived.
#[derive(Default)]
pub(crate) struct Arrivals {
    events: HashMap<String, usize>,
    invoices: HashMap<Uuid, Instant>,
}

impl Arrivals {
    /// Until so many distinct events are here: when the last of them came; `None`: patience ran out.
    pub(crate) async fn collect(
        &mut self,
        requests: &mut mpsc::Receiver<Received>,
        expected: usize,
        patience: Duration,
    ) -> Option<Instant> {
        let end = Instant::now() + patience;
        let mut last = None;
        while self.events.len() < expected {
            tokio::select! {
                biased;
                () = sleep_until(end) => return None,
                request = requests.recv() => {
                    let request = request?;
                    last = Some(request.at);
                    self.take(&request);
                }
            }
        }
        last
    }
    fn take(&mut self, request: &Received) {
        *self.events.entry(request.header("webhook-id").to_owned()).or_default() += 1;
        let body = String::from_utf8_lossy(&request.body);
        let id = body.split_once("\"resource_id\":\"").and_then(|(_, rest)| rest.get(..36)?.parse().ok());
        if let Some(id) = id {
            self.invoices.entry(id).or_insert(request.at);
        }
    }
    /// Distinct events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
    /// Requests beyond the first of an event.
    pub(crate) fn repeats(&self) -> usize {
        self.events.values().map(|times| times - 1).sum()
    }
    /// Whether an invoice's event came.
    pub(crate) fn holds(&self, id: &Uuid) -> bool {
        self.invoices.contains_key(id)
    }
    /// When it came first.
    pub(crate) fn at(&self, id: &Uuid) -> Option<Instant> {
        self.invoices.get(id).copied()
    }
}
