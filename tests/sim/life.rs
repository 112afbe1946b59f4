//! One seed: lives of the sidecar, ended by power cuts, kills and orderly stops, until everything that is owed has come
//! to its end. Then the invariants.
use crate::check;
use crate::damage;
use crate::disk::Platter;
use crate::erp::{CLEAR, Erp, HEADER, LENGTH, Span, Txn};
use crate::index::SimIndex;
use crate::ledger::{self, Ledger};
use crate::net::Net;
use crate::oracle::Truth;
use crate::plan::{Kind, Plan};
use crate::postgres::Server;
use crate::rng::Rng;
use crate::source::SimSource;
use crate::wiring;
use crate::witness;
use crate::world::World;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::capture;
use tailhook::domain::Lsn;
use tailhook::store::IndexError;
use tailhook::store::index::memory::MemoryIndex;
use tailhook::store::{Store, StoreError};
use tokio::sync::watch;
use tokio::time::sleep;

/// A stop takes at most this long: the graces of `app::pipeline`, when a disk hangs.
const STOP: Duration = Duration::from_secs(20);

/// What one seed came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) wrong: Vec<String>,
    /// Owed.
    pub(crate) events: u64,
    /// Owed, or swallowed by a gap.
    pub(crate) history: u64,
    pub(crate) lives: u64,
    pub(crate) sent: u64,
    pub(crate) server_crashes: u64,
    /// Transactions of its history.
    pub(crate) length: usize,
    pub(crate) gaps: u64,
    pub(crate) table_gaps: u64,
}

/// Within this time everything must have ended once nothing goes wrong any more: after a restart with a clock set back a
/// retry waits `backoff.max`, an hour.
pub(crate) const PATIENCE_MS: u64 = 2 * 3_600_000;

/// Runs one plan. `loud` prints the trace.
pub(crate) fn simulate(plan: &Plan, loud: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(plan, loud);
        let machine = Machine::new(&world);
        let (lives, ledger) = machine.live().await;
        let truth = machine.truth();
        check::history(&world, &truth, &ledger, &machine.net);
        let spans = machine.server.spans();
        let excused = machine.server.excused();
        witness::agrees(&world, &machine.sidecar.mapping, &machine.txns, (&spans, &excused), &ledger);
        let whole: Vec<Span> = spans.first().map(|first| Span::from(first.from)).into_iter().collect();
        machine.nothing_leaked();
        Report {
            trace: world.trace(),
            wrong: world.wrong(),
            events: truth.owed.len() as u64,
            history: Truth::of(&machine.txns, &whole, &excused).owed.len() as u64,
            lives,
            sent: machine.net.log().len() as u64,
            server_crashes: machine.server.crashes(),
            length: machine.txns.len(),
            gaps: spans.len().saturating_sub(1) as u64,
            table_gaps: machine.server.table_gaps(),
        }
    })
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What was not synced is lost, and the index is as old as chance will have it.
    PowerCut,
    /// kill -9: the kernel keeps what was written; the index loses what it had in memory.
    Kill,
    /// SIGTERM.
    Stop,
}

/// The machine and the world around it; outlives every life.
struct Machine {
    world: Arc<World>,
    rng: Rng,
    platter: Arc<Platter>,
    net: Arc<Net>,
    server: Arc<Server>,
    txns: Arc<Vec<Txn>>,
    tenants: Vec<String>,
    sidecar: wiring::Sidecar,
    /// The gap that the sidecar has reported, as `--accept-gap` takes it.
    reported: Mutex<Option<String>>,
}

impl Machine {
    fn new(world: &Arc<World>) -> Self {
        let rng = world.rng.fork();
        let length = rng.range(LENGTH.0, LENGTH.1) as usize;
        let (mut txns, mut tenants) = Erp::new(world.rng.fork()).history(length);
        txns.truncate(world.plan.length.unwrap_or(usize::MAX).max(1));
        tenants.push(crate::rules::CONST_TENANT.to_owned());
        let txns = Arc::new(txns);
        for txn in txns.iter() {
            world.say(|| format!("will commit {txn:x?}").chars().take(3000).collect());
        }
        let platter = Platter::new(world);
        let sidecar = wiring::Sidecar::new();
        let server = Server::new(world, &platter, txns.clone(), sidecar.filler(), None);
        Self {
            world: world.clone(),
            rng,
            platter,
            net: Net::new(world),
            server,
            txns,
            tenants,
            sidecar,
            reported: Mutex::default(),
        }
    }

    fn truth(&self) -> Truth {
        Truth::of(&self.txns, &self.server.spans(), &self.server.excused())
    }

    /// Life after life; returns how many, and what the store says after the last.
    async fn live(&self) -> (u64, Ledger) {
        let over_ms = self.txns.last().map_or(0, |txn| txn.at_ms) + self.rng.below(20_000);
        let mut index = SimIndex::of(&self.world, MemoryIndex::default());
        let mut older = MemoryIndex::default();
        let mut lives = 0;
        while self.world.ms() < over_ms && self.world.faulty(Kind::Deaths) {
            lives += 1;
            let end = match self.rng.below(10) {
                0..5 => End::PowerCut,
                5..8 => End::Kill,
                _ => End::Stop,
            };
            let ms = if self.rng.permille(300) {
                self.rng.below(300)
            } else {
                self.rng.below(over_ms / 3 + 1_000)
            };
            self.world.note(|| format!("life {lives}, {ms} ms, then {end:?}"));
            self.life(lives, &index, ms, end).await;
            self.server.abandon();
            let mut left = [index.survives(), MemoryIndex::default(), older];
            if end == End::PowerCut {
                self.platter.crash();
                left.swap(0, self.rng.below(3) as usize);
            } else {
                self.platter.kill();
            }
            older = left[0].fork();
            index = SimIndex::of(&self.world, left[0].fork());
            sleep(Duration::from_millis(self.rng.below(3_000))).await;
            self.server.meddle();
            damage::flip(&self.world, &self.platter, &index.survives(), &self.tenants).await;
        }
        for _ in 0..50 {
            if !self.server.is_wronged() {
                break;
            }
            lives += 1;
            self.world.note(|| format!("life {lives}, until a gap is accepted"));
            self.life(lives, &index, 60_000, End::Stop).await;
            self.server.abandon();
            self.platter.kill();
            index = SimIndex::of(&self.world, index.survives());
        }
        if self.server.is_wronged() {
            self.world.violated("a gap is neither reported nor passed".to_owned());
        }
        lives += 1;
        self.server.leave_slot_alone();
        self.world.note(|| format!("life {lives}, the last"));
        let ledger = self.last_life(lives, &index).await;
        (lives, ledger)
    }

    /// Opens the store; what was ever confirmed must be in it.
    async fn open(&self, index: &SimIndex) -> Option<Store> {
        let disk = Arc::new(self.platter.mount());
        let opened = Store::open(wiring::store_settings(), disk, index.factory(), self.world.clone()).await;
        match opened {
            Ok((store, recovery)) => {
                let (position, confirmed) =
                    (store.checkpoint().position().map_or(0, |p| p.0), self.server.confirmed_ever());
                self.world.note(|| format!("opened at {position:x}: {recovery:?}"));
                if position < confirmed && !self.server.is_accepted() {
                    self.world.violated(format!("confirmed {confirmed:x} but {position:x} is what survived"));
                }
                Some(store)
            }
            Err(error @ (StoreError::Blocked(_) | StoreError::Index(IndexError::Disk(_))))
                if self.world.faulty(Kind::Disk) =>
            {
                self.world.note(|| format!("the store does not open: {error}"));
                None
            }
            Err(error) => {
                self.world.violated(format!("the store does not open: {error}"));
                None
            }
        }
    }

    async fn life(&self, number: u64, index: &SimIndex, ms: u64, end: End) {
        // the machine may die while it is starting, too
        let opening = tokio::time::timeout(Duration::from_millis(ms + 100), self.open(index)).await;
        let Ok(Some(store)) = opening else { return };
        let (stop, stopped) = watch::channel(false);
        let source = SimSource::new(&self.server);
        let (status, mut seen) = watch::channel(capture::CaptureStatus::default());
        let end_of = wiring::Ends {
            source,
            transport: self.net.transport(number),
            stopped,
            status,
            accept_gap: self.operator(),
        };
        let run = self.sidecar.run(&self.world, store, end_of);
        tokio::pin!(run);
        tokio::select! {
            biased;
            result = &mut run => self.ended(&result),
            () = self.listen(&mut seen) => {}
            () = self.set_clocks() => {}
            () = sleep(Duration::from_millis(ms)) => {
                if end == End::Stop {
                    stop.send_replace(true);
                    match tokio::time::timeout(STOP, &mut run).await {
                        Ok(Ok(())) => self.world.note(|| "stopped".to_owned()),
                        Ok(Err(error)) => self.world.note(|| format!("stopped with {error:#}")),
                        Err(_) => self.world.violated(format!("does not stop within {STOP:?}")),
                    }
                }
            }
        }
    }

    /// What the operator does about a reported gap: nothing yet, a slip of the pen, or the right thing.
    fn operator(&self) -> Option<String> {
        let range = self.reported.lock().unwrap().take()?;
        let (from, to) = range.split_once('-')?;
        match self.rng.below(10) {
            0..2 => None,
            2 => Some(format!("0/1-{to}")),
            _ => {
                self.server.accept(from.parse::<Lsn>().unwrap().0);
                self.world.note(|| format!("--accept-gap={range}"));
                Some(range)
            }
        }
    }

    /// Reads what the sidecar says of gaps.
    async fn listen(&self, seen: &mut watch::Receiver<capture::CaptureStatus>) {
        while seen.changed().await.is_ok() {
            let capture::CaptureStatus { gap, table_gaps, streaming, .. } = seen.borrow_and_update().clone();
            // before it streams it may not have read what it noted
            if streaming || !table_gaps.is_empty() {
                self.server.announced(&table_gaps);
            }
            if let Some((range, _)) = gap.as_deref().and_then(|gap| gap.split_once(':')) {
                self.world.note(|| format!("gap {range} is reported"));
                *self.reported.lock().unwrap() = Some(range.to_owned());
            }
        }
        std::future::pending::<()>().await;
    }

    async fn set_clocks(&self) {
        loop {
            sleep(Duration::from_millis(self.rng.below(120_000))).await;
            self.world.set_clock(&self.rng);
        }
    }

    /// The sidecar ended by itself: never without a reason, and none of ours is one.
    fn ended(&self, result: &anyhow::Result<()>) {
        match result {
            Ok(()) => self.world.violated("the sidecar ended although nobody stopped it".to_owned()),
            Err(error) => self.world.violated(format!("the sidecar ended by itself: {error:#}")),
        }
    }

    /// After a while nothing goes wrong any more, and without a restart everything must end. Then an orderly stop, and the
    /// same is there when the store is opened again.
    async fn last_life(&self, number: u64, index: &SimIndex) -> Ledger {
        let store = loop {
            match self.open(index).await {
                Some(store) => break store,
                None if !self.world.faulty(Kind::Disk) => return Ledger::new(),
                None => {
                    self.platter.kill();
                    self.world.faults_off();
                }
            }
        };
        let (stop, stopped) = watch::channel(false);
        let source = SimSource::new(&self.server);
        let (status, mut seen) = watch::channel(capture::CaptureStatus::default());
        let end_of =
            wiring::Ends { source, transport: self.net.transport(number), stopped, status, accept_gap: None };
        let run = self.sidecar.run(&self.world, store.clone(), end_of);
        tokio::pin!(run);
        let mut before = Ledger::new();
        tokio::select! {
            biased;
            result = &mut run => self.ended(&result),
            () = self.listen(&mut seen) => {}
            done = self.all_ended(&store) => {
                if !done {
                    let (vitals, at) = (store.vitals(), store.checkpoint().position());
                    self.world.violated(format!("not all ended after {PATIENCE_MS} ms: {vitals:?} at {at:?}"));
                }
                before = ledger::of(&self.world, &self.tenants, &store).await;
                stop.send_replace(true);
                match tokio::time::timeout(STOP, &mut run).await {
                    Ok(Ok(())) => {}
                    other => self.world.violated(format!("the last stop came to {other:?}")),
                }
            }
        }
        drop(store);
        self.platter.crash();
        let confirmed = self.server.slot().map_or(0, |slot| slot.confirmed);
        if confirmed < self.txns.last().map_or(0, |txn| txn.end) {
            self.world.violated(format!("at the end only {confirmed:x} is confirmed"));
        }
        if let Some(store) = self.open(&SimIndex::of(&self.world, MemoryIndex::default())).await {
            let (rebuilt, after) =
                (store.finish_rebuild().await, ledger::of(&self.world, &self.tenants, &store).await);
            if rebuilt.is_err() || after != before {
                let what = format!("{} deliveries before the last stop and {}", before.len(), after.len());
                self.world.violated(format!("{what} after, or not the same: {rebuilt:?}"));
            }
        }
        before
    }

    /// Every commit is durable here and confirmed, and nothing is pending.
    async fn all_ended(&self, store: &Store) -> bool {
        sleep(Duration::from_millis(self.rng.below(120_000))).await;
        self.world.faults_off();
        self.world.note(|| "from here on nothing goes wrong".to_owned());
        let until = self.world.ms() + PATIENCE_MS;
        let last = self.txns.last().map_or(0, |txn| txn.end);
        while self.world.ms() < until {
            let here = store.checkpoint().position().is_some_and(|at| at.0 >= last);
            let confirmed = self.server.slot().is_some_and(|slot| slot.confirmed >= last);
            let vitals = store.vitals();
            if here && confirmed && !vitals.rebuilding && vitals.pending == 0 && !self.server.has_table_gaps()
            {
                return true;
            }
            sleep(Duration::from_millis(500)).await;
        }
        false
    }

    /// No clear secret is in any file.
    fn nothing_leaked(&self) {
        for file in [CLEAR, HEADER].iter().filter_map(|clear| self.platter.holds(clear)) {
            self.world.violated(format!("{file} holds a clear secret or header"));
        }
    }
}
