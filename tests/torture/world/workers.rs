//! The ERP at work: commits and rolls back until it is told to stop. Each worker has rows of its own. Of the sidecar it knows
//! what one client of the API knows.
use super::client::Client;
use super::{TENANTS, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tailhook_demo::database::Database;
use tailhook_demo::random::Random;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

/// Rows that a worker has open at the most.
const ROWS: usize = 200;

/// Some at work.
#[derive(Default)]
pub(crate) struct Workers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    /// Whoever works holds it for reading.
    rest: Arc<RwLock<()>>,
    /// Rows inserted, updated and deleted by committed transactions.
    changes: Arc<AtomicU64>,
    /// The transactions.
    transactions: Arc<AtomicU64>,
}

impl Workers {
    /// `pause` after each transaction sets the pace.
    pub(crate) async fn start(world: &World, seed: u64, count: usize, pause: Duration) -> Self {
        let mut workers = Self::default();
        for number in 0..count {
            let worker = Worker {
                url: world.rig.cluster.superuser_url("postgres"),
                erp: world.rig.another().await,
                random: Random::new(seed.wrapping_add(number as u64)),
                tenant: TENANTS[number % TENANTS.len()],
                rows: Vec::new(),
            };
            workers.work(worker, pause, |mut worker| async {
                let changes = worker.transaction().await;
                (worker, changes)
            });
        }
        workers
    }
    /// A client of the API beside them.
    pub(crate) async fn with_client(mut self, world: &World) -> Self {
        let client = (Client::of(world), world.rig.another().await, 0);
        self.work(client, Duration::from_millis(20), |(client, erp, turn)| async move {
            client.round(&erp, turn).await;
            ((client, erp, turn + 1), 0)
        });
        self
    }
    fn work<W, F>(&mut self, worker: W, pause: Duration, turn: fn(W) -> F)
    where
        W: Send + 'static,
        F: Future<Output = (W, u64)> + Send + 'static,
    {
        let (stop, changes, rest) = (self.stop.clone(), self.changes.clone(), self.rest.clone());
        let transactions = self.transactions.clone();
        self.tasks.spawn(async move {
            let mut worker = worker;
            while !stop.load(Ordering::Relaxed) {
                let working = rest.read().await;
                let (back, done) = turn(worker).await;
                worker = back;
                drop(working);
                changes.fetch_add(done, Ordering::Relaxed);
                transactions.fetch_add(u64::from(done > 0), Ordering::Relaxed);
                sleep(pause).await;
            }
        });
    }
    /// All of them rest until this is dropped.
    pub(crate) async fn rest(&self) -> OwnedRwLockWriteGuard<()> {
        self.rest.clone().write_owned().await
    }
    /// Committed changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
    /// Committed transactions so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }
    /// Lets what is open end; gives how many changes were committed.
    pub(crate) async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the ERP works on");
        }
        self.changes()
    }
}

struct Worker {
    url: String,
    erp: Database,
    random: Random,
    tenant: &'static str,
    rows: Vec<Uuid>,
}

impl Worker {
    /// One transaction; how many changes it has committed.
    async fn transaction(&mut self) -> u64 {
        let (few, before) = (self.rows.len() < 5, self.rows.clone());
        let mut sql = Vec::new();
        let rolls_back = match self.random.below(100) {
            0..25 => self.insert(&mut sql),
            _ if few => self.insert(&mut sql),
            25..65 => self.update(&mut sql),
            65..75 => self.several(&mut sql),
            75..85 => !self.several(&mut sql),
            _ if self.rows.len() < ROWS => self.insert(&mut sql),
            _ => self.delete(&mut sql),
        };
        let end = if rolls_back { "ROLLBACK" } else { "COMMIT" };
        let done = self.erp.run(&format!("BEGIN; {}; {end}", sql.join("; "))).await;
        if let Err(error) = done {
            assert!(server_is_gone(&error), "{error:#}");
            // whether it was committed, the audit table knows
            self.rows = before;
            self.reconnect().await;
            return 0;
        }
        if rolls_back {
            self.rows = before;
            return 0;
        }
        sql.len() as u64
    }
    async fn reconnect(&mut self) {
        loop {
            match Database::connect(&self.url).await {
                Ok(erp) => return self.erp = erp,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
    // Each says whether the transaction is rolled back, which by itself it is not.
    fn insert(&mut self, sql: &mut Vec<String>) -> bool {
        let (id, tenant) = (self.random.uuid(), self.tenant);
        let values = format!("{}, repeat('ñ', {})", self.amount(), self.random.below(400));
        sql.push(format!(
            "INSERT INTO orders (id, tenant_id, amount, notes) VALUES ('{id}', '{tenant}', {values})"
        ));
        self.rows.push(id);
        false
    }
    fn update(&mut self, sql: &mut Vec<String>) -> bool {
        // the newest are worked on most
        let newest = self.rows.len().saturating_sub(8);
        let recent = if self.random.percent(70) { &self.rows[newest..] } else { &self.rows };
        let id = *self.random.pick(recent).expect("a row");
        let status = *self.random.pick(&["draft", "sent", "paid"]).expect("a status");
        let amount = self.amount();
        sql.push(format!(
            "UPDATE orders SET nth = nth + 1, status = '{status}', amount = {amount} WHERE id = '{id}'"
        ));
        false
    }
    fn several(&mut self, sql: &mut Vec<String>) -> bool {
        for _ in 0..2 + self.random.below(6) {
            if self.random.percent(40) {
                self.insert(sql)
            } else {
                self.update(sql)
            };
        }
        false
    }
    fn delete(&mut self, sql: &mut Vec<String>) -> bool {
        let id = self.rows.remove(self.random.below(self.rows.len()));
        sql.push(format!("DELETE FROM orders WHERE id = '{id}'"));
        false
    }
    fn amount(&mut self) -> String {
        format!("{}.{:02}", self.random.below(100_000), self.random.below(100))
    }
}

/// It crashed or was shut down (57P0x); everything else is a mistake of ours.
fn server_is_gone(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_none_or(|code| code.code().starts_with("57P"))
}
