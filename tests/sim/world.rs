//! What all simulated parts share: the seed's chance, time, whether faults happen, what went wrong, and the trace.
use crate::plan::{Kind, Plan};
use crate::rng::Rng;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::clock::Clock;
use tokio::time::Instant;

/// 2026-02-14 10:00:00 UTC, in Unix microseconds: when every simulated world begins.
pub(crate) const BASE_US: i64 = 1_771_063_200_000_000;

/// One simulated world; handed around as `Arc`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    start: Instant,
    faults: AtomicBool,
    /// How far the sidecar's wall clock is off.
    skew_us: AtomicI64,
    /// How often it was set.
    clock_sets: AtomicU64,
    /// When it was last set, and how far it was off before.
    set: Mutex<(u64, i64)>,
    trace: AtomicU64,
    loud: bool,
    wrong: Mutex<Vec<String>>,
}

impl World {
    /// Inside a paused runtime. `loud` prints the trace.
    pub(crate) fn new(plan: &Plan, loud: bool) -> Arc<Self> {
        Arc::new(Self {
            rng: Rng::new(plan.seed),
            plan: plan.clone(),
            skew_us: AtomicI64::new(0),
            clock_sets: AtomicU64::new(0),
            set: Mutex::default(),
            start: Instant::now(),
            faults: AtomicBool::new(true),
            trace: AtomicU64::new(0xCBF2_9CE4_8422_2325),
            loud,
            wrong: Mutex::default(),
        })
    }
    /// Simulated milliseconds since the world began.
    pub(crate) fn ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
    /// The instant of a millisecond of this world.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
    pub(crate) fn faulty(&self, kind: Kind) -> bool {
        self.faults.load(Ordering::Relaxed) && self.plan.has(kind)
    }
    /// From now on nothing goes wrong any more: what is owed must come to its end.
    pub(crate) fn faults_off(&self) {
        self.faults.store(false, Ordering::Relaxed);
    }
    /// With faults on: true in `n` of 1000 draws of `rng`.
    pub(crate) fn strikes(&self, kind: Kind, rng: &Rng, n: u64) -> bool {
        self.faulty(kind) && rng.permille(n)
    }
    /// Somebody sets the sidecar's wall clock: up to two hours off the server's, either way.
    pub(crate) fn set_clock(&self, rng: &Rng) {
        if self.faulty(Kind::Clock) {
            let off_ms = rng.below(4 * 3_600_000) as i64 - 2 * 3_600_000;
            let before = self.skew_us.swap(off_ms * 1000, Ordering::Relaxed);
            *self.set.lock().unwrap() = (self.ms(), before);
            self.clock_sets.fetch_add(1, Ordering::Relaxed);
            self.note(|| format!("the wall clock is set {off_ms} ms off"));
        }
    }
    /// What the sidecar's clock shows; two times if it was set in this very moment.
    pub(crate) fn clocks_ms(&self) -> impl Iterator<Item = i64> {
        let real = BASE_US + self.start.elapsed().as_micros() as i64;
        let (set_at, before) = *self.set.lock().unwrap();
        let before = Some(before).filter(|_| set_at == self.ms());
        let now = self.skew_us.load(Ordering::Relaxed);
        [Some(now), before].into_iter().flatten().map(move |skew| (real + skew).div_euclid(1000))
    }
    pub(crate) fn clock_sets(&self) -> u64 {
        self.clock_sets.load(Ordering::Relaxed)
    }
    /// A line for people alone.
    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:>8} {}", self.ms(), line());
        }
    }
    /// Adds a line to the trace. Two runs of one seed must write the same lines at the same times.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let (ms, line) = (self.ms(), line());
        if self.loud {
            eprintln!("{ms:>8} {line}");
        }
        let mut hash = self.trace.load(Ordering::Relaxed);
        for byte in ms.to_be_bytes().iter().chain(line.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
        }
        self.trace.store(hash, Ordering::Relaxed);
    }
    pub(crate) fn trace(&self) -> u64 {
        self.trace.load(Ordering::Relaxed)
    }
    /// An invariant does not hold.
    pub(crate) fn violated(&self, what: String) {
        self.note(|| format!("VIOLATED {what}"));
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < 20 {
            wrong.push(what);
        }
    }
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}

impl Clock for World {
    fn now_us(&self) -> i64 {
        BASE_US + self.start.elapsed().as_micros() as i64 + self.skew_us.load(Ordering::Relaxed)
    }
}
