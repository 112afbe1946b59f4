//! An index whose disk stalls now and then, beside new deliveries at a steady pace: what of their way waits for it.
use crate::house::{Deliveries, House};
use crate::report::figure;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tailhook::store::index::{Generation, Pair};
use tailhook::store::{Batch, Index, IndexError, IndexFactory};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// One stall in each of these.
const EVERY: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(20);
const COUNT: u64 = 1500;

/// An index that answers nothing for the first part of each `EVERY`.
#[derive(Debug)]
struct StallingIndex {
    index: Arc<dyn Index>,
    began: Instant,
    stall: Duration,
}

impl StallingIndex {
    fn wait(&self) {
        let into = self.began.elapsed().as_nanos() % EVERY.as_nanos();
        let left = self.stall.as_nanos().saturating_sub(into);
        std::thread::sleep(Duration::from_nanos(left as u64));
    }
}

impl Index for StallingIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.wait();
        self.index.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.wait();
        self.index.scan(from, to, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.wait();
        self.index.scan_back(from, to, limit)
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        self.wait();
        self.index.take(generation)
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        self.wait();
        self.index.flush(now)
    }
    fn compact(&self) -> Result<bool, IndexError> {
        self.wait();
        self.index.compact()
    }
    fn size(&self) -> u64 {
        self.index.size()
    }
    fn blocks(&self) -> bool {
        true
    }
}

/// `stall`: how long, in milliseconds.
fn stalling(factory: IndexFactory, stall: Duration) -> IndexFactory {
    let began = Instant::now();
    Box::new(move |reset| Ok(Arc::new(StallingIndex { index: factory(reset)?, began, stall })))
}

pub(crate) async fn beside(folder: &Path, stall_ms: u64) -> anyhow::Result<()> {
    let stall = Duration::from_millis(stall_ms);
    let house = House::open_with(folder, |factory| stalling(factory, stall)).await?;
    let deliveries = Deliveries::new(COUNT, 10)?;
    let (mut acks, mut ready, mut outcomes) = (Vec::new(), Vec::new(), JoinSet::new());
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..COUNT {
        pace.tick().await;
        let began = Instant::now();
        let (records, keys) = deliveries.captured(n..n + 1);
        house.store.checkpoint().commit_unseen(Batch { records }).await?;
        acks.push(began.elapsed());
        let (fresh, _) = house.store.outbox().fresh().await;
        for pending in &fresh {
            anyhow::ensure!(
                house.store.outbox().event(pending).await?.is_some(),
                "delivery {n} has no event"
            );
        }
        ready.push(began.elapsed());
        let (store, records) = (house.store.clone(), deliveries.delivered(keys));
        outcomes.spawn(async move {
            let began = Instant::now();
            store.checkpoint().commit(Batch { records }).await.map(|()| began.elapsed())
        });
    }
    let outcomes: Result<Vec<Duration>, _> = outcomes.join_all().await.into_iter().collect();
    for (name, mut took) in [("ack", acks), ("ready to be sent", ready), ("outcome durable", outcomes?)] {
        took.sort();
        for (of, share) in [("p50", 0.5), ("p99", 0.99)] {
            let at = ((took.len() - 1) as f64 * share) as usize;
            figure(&format!("{name}, {of}"), took[at].as_secs_f64() * 1e3, "ms");
        }
    }
    house.close().await
}
