//! A life of a sidecar as its store sees it, recorded: changes with events, shadow and deliveries, outcomes, retries, rotation,
//! checkpoints, retention, kills. Knows no cuts.
use super::model::{HISTORY_US, Model, TABLE, marker};
use super::record::{Moment, Recording, WatchedDisk, WatchedIndex};
use crate::house::*;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tailhook::clock::{Clock, SharedClock};
use tailhook::domain::*;
use tailhook::settings::StoreSettings;
use tailhook::store::*;
use tailhook_demo::random::Random;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

/// Small segments and frames: rotation, checkpoints, deleted segments and groups of several frames in every life.
pub(crate) fn small() -> StoreSettings {
    let history = Duration::from_micros(HISTORY_US as u64);
    StoreSettings { segment_bytes: 24 << 10, frame_bytes: 600, history, ..settings() }
}

const LIVES: usize = 4;
const ROUNDS: usize = 60;
const LANES: usize = 4;

/// What is under way.
struct Load {
    random: Random,
    recording: Recording,
    clock: Arc<HandClock>,
    commits: Vec<Arc<[Record]>>,
    model: Model,
    /// Events so far, in all lives: none is ever made twice.
    events: u64,
}

async fn all_done(mut callers: JoinSet<()>) {
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}

/// Lives several lives in `folder`, each ended by a kill.
pub(crate) async fn live(engine: Engine, seed: u64, folder: &Path) -> Recording {
    let recording = Recording::default();
    let mut load = Load {
        random: Random::new(seed),
        recording: recording.clone(),
        clock: Arc::new(HandClock(AtomicI64::new(NOON_MS * 1000))),
        commits: Vec::new(),
        model: Model::default(),
        events: 0,
    };
    for _ in 0..LIVES {
        load.life(engine, folder).await;
    }
    recording
}

impl Load {
    async fn life(&mut self, engine: Engine, folder: &Path) {
        let disk = WatchedDisk::open(folder, &self.recording);
        let (lock, alive) = (disk.watch(), Arc::new(()));
        let (recording, living) = (self.recording.clone(), alive.clone());
        let index = WatchedIndex::factory(engine, folder.join("index"), recording, living);
        let clock: SharedClock = self.clock.clone();
        let (store, _) = Store::open(small(), Arc::new(disk), index, clock).await.unwrap();
        store.finish_rebuild().await.unwrap();
        let survived = marker(&store).await.unwrap();
        self.recording.note(Moment::Reopened(survived));
        self.commits.truncate(survived);
        self.model = Model::of(&self.commits);
        let mut loops = JoinSet::new();
        let running = store.clone();
        loops.spawn(async move { running.run().await });
        for _ in 0..ROUNDS {
            let callers = self.round(&store).await;
            all_done(callers).await;
            self.let_time_pass().await;
        }
        // killed with commits on their way
        let mut callers = self.round(&store).await;
        for _ in 0..self.random.below(12) {
            yield_now().await;
        }
        callers.shutdown().await;
        loops.shutdown().await;
        drop(store);
        while lock.strong_count() > 0 || Arc::strong_count(&alive) > 1 {
            yield_now().await;
        }
    }

    /// Some commits at once, so that they share an append. One that needs the index comes last and alone: when it is written depends on
    /// the index, and the model goes by the order in which commits are called.
    async fn round(&mut self, store: &Store) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for _ in 0..=self.random.below(5) {
            let number = self.commits.len();
            let mut records = self.next();
            let needs_index = records.iter().any(|record| {
                matches!(record, Record::Attempted { .. } | Record::Abandoned { .. } | Record::Retried { .. })
            });
            if needs_index {
                all_done(std::mem::take(&mut callers)).await;
            }
            records.push(counter(number + 1));
            self.model.apply(number, &records);
            let shared: Arc<[Record]> = records.clone().into();
            self.commits.push(shared.clone());
            let (store, recording) = (store.clone(), self.recording.clone());
            callers.spawn(async move {
                recording.note(Moment::Called(shared));
                // no event is ever made twice
                store.checkpoint().commit_unseen(Batch { records }).await.unwrap();
                recording.note(Moment::Confirmed(number));
            });
            if needs_index {
                break;
            }
        }
        callers
    }

    /// Minutes for the index and the upkeep, hours for the retention.
    async fn let_time_pass(&mut self) {
        if self.random.percent(30) {
            sleep(Duration::from_millis(self.random.below(2500) as u64)).await;
        }
        if self.random.percent(12) {
            self.clock.0.fetch_add(self.random.below(HISTORY_US as usize * 2 / 3) as i64, Ordering::Relaxed);
            self.recording.note(Moment::Clock(self.clock.0.load(Ordering::Relaxed)));
            sleep(Duration::from_secs(61 + self.random.below(60) as u64)).await;
        }
    }

    fn next(&mut self) -> Vec<Record> {
        match (self.commits.len(), self.random.below(100)) {
            (0, _) => vec![Record::Filling(identity(1)), subscription(1), self.row(1)],
            (1, _) => vec![Record::Identity(identity(1)), Record::Position(Lsn(1))],
            (_, 0..55) => self.change(),
            (_, 55..88) => self.outcome(),
            (_, 88..92) => self.again(),
            (_, 92..96) => vec![subscription(self.random.below(LANES) as u128)],
            (_, 96..98) => vec![Record::ShadowClear { table: TABLE.into() }, self.row(2)],
            _ => vec![remembered(&self.random.below(9).to_string(), self.clock.now_ms())],
        }
    }

    fn row(&mut self, key: usize) -> Record {
        let text = format!("{}", self.random.number());
        row(&key.to_string(), self.random.percent(90).then_some(text.as_str()))
    }

    fn change(&mut self) -> Vec<Record> {
        let mut records = vec![Record::Position(Lsn(self.events + 2))];
        for _ in 0..=self.random.below(3) {
            self.events += 1;
            let event = big_event(self.events, self.clock.now_us());
            records.push(Record::Event(event.clone()));
            let key = self.random.below(40);
            records.push(self.row(key));
            for _ in 0..=self.random.below(2) {
                let to = lane(self.random.below(LANES) as u128);
                let id = DeliveryId::derive(event.id, to, event.timestamp_us);
                let key = DeliveryKey { tenant: tenant(), id };
                let target_url = "https://example.com/hook".into();
                records.push(Record::Delivery { event: event.id, subscription: to, key, target_url });
            }
        }
        records
    }

    fn outcome(&mut self) -> Vec<Record> {
        let pending = self.model.keys(|status, _| status == Status::Pending);
        let Some(key) = self.random.pick(&pending).cloned() else { return self.change() };
        let at_ms = self.clock.now_ms();
        let next = match self.random.below(100) {
            0..10 => return vec![Record::Abandoned { key, reason: "expired".into(), at_ms }],
            10..70 => Next::Delivered,
            70..90 => Next::RetryAt(at_ms + 2000),
            _ => Next::Failed,
        };
        let Record::Attempted { key, mut attempt, next } = attempted(key, 1, next) else { unreachable!() };
        attempt.at_ms = at_ms;
        vec![Record::Attempted { key, attempt, next }]
    }

    /// A manual retry of something that retention does not touch yet.
    fn again(&mut self) -> Vec<Record> {
        let young = self.clock.now_us() - HISTORY_US / 2;
        let ended = self.model.keys(|status, updated_us| {
            matches!(status, Status::Failed | Status::Abandoned) && updated_us > young
        });
        let Some(key) = self.random.pick(&ended).cloned() else { return self.change() };
        vec![Record::Retried { key, at_ms: self.clock.now_ms() }]
    }
}

/// An event whose body is a function of its number: mostly a few hundred bytes, at times several pages.
pub(crate) fn big_event(n: u64, now_us: i64) -> Arc<Event> {
    let mut random = Random::new(n);
    let words = if random.percent(8) { 800 } else { 60 };
    let text: Vec<String> = (0..random.below(words)).map(|_| random.number().to_string()).collect();
    let text = text.join(" ");
    let body = Bytes::from(format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    Arc::new(Event { body, timestamp_us: now_us + n as i64, ..(*event(n)).clone() })
}

/// What is committed after a cut.
pub(crate) fn addition(n: u64, commits: usize, now_us: i64) -> Vec<Record> {
    let event = big_event(1_000_000 + n, now_us);
    let id = DeliveryId::derive(event.id, lane(1), event.timestamp_us);
    let key = DeliveryKey { tenant: tenant(), id };
    let target_url = "https://example.com/hook".into();
    vec![
        Record::Position(Lsn(1_000_000 + n)),
        Record::Event(event.clone()),
        Record::Delivery { event: event.id, subscription: lane(1), key, target_url },
        counter(commits + 1),
    ]
}

/// How many commits there are, as one of their rows.
fn counter(commits: usize) -> Record {
    Record::Shadow {
        table: "test.marker".into(),
        key: Bytes::from_static(b"commits"),
        columns: Some(Bytes::from(commits.to_string())),
    }
}
