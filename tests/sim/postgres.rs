//! A simulated Postgres: the WAL of a history, one slot, a walsender that speaks real bytes, crashes that forget recent
//! feedback, shutdowns that wait for it. Checks what it is told. Knows nothing of the sidecar's inside but the `Source` seam.
use crate::disk::Platter;
use crate::erp::{Rows, Txn};
use crate::lapses::Lapses;
use crate::plan::Kind;
use crate::rng::Rng;
use crate::slots::Slots;
use crate::stream::Stream;
use crate::world::World;
use std::sync::{Arc, Mutex};
use tailhook::capture::SlotState;
use tailhook::domain::Lsn;

/// Writes the rows of a first snapshot as the real source would.
pub(crate) type Filler = Box<dyn Fn(&Rows) -> Vec<tailhook::capture::FillRow> + Send + Sync>;

/// The slot, in the server's memory and on its disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) confirmed: u64,
    /// What a crash of the server falls back to.
    pub(crate) on_disk: u64,
    /// Its consistent point.
    pub(crate) from: u64,
    /// A walsender of an earlier life still holds it until then.
    held_until_ms: u64,
}

impl Slot {
    pub(crate) fn at(from: u64) -> Self {
        Self { confirmed: from, on_disk: from, from, held_until_ms: 0 }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slot: Option<Slot>,
    /// Counts the server's starts: connections of an earlier one are dead.
    pub(crate) start: u64,
    up_at_ms: u64,
    next_end_ms: u64,
    crashes: u64,
    /// Where each earlier timeline ended.
    timelines: Vec<(u32, Lsn)>,
    /// A walsender streams.
    pub(crate) streaming: bool,
    /// It shuts down, and the walsender waits for the flush of everything.
    stopping: Option<Stopping>,
    /// The furthest that was ever confirmed of this slot, crashes of the server or not.
    pub(crate) confirmed_ever: u64,
    pub(crate) slots: Slots,
    pub(crate) lapses: Lapses,
}

/// `pg_ctl stop -m fast`.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    since_ms: u64,
    /// The walsender has sent everything and only waits since then.
    sent_ms: Option<u64>,
}

/// A shutdown may wait so long for us: 5 s of a blocked disk, and the second until we look (SPEC 5.9).
const HELD_MS: u64 = 6_000;

/// The server; outlives every life of the sidecar.
pub(crate) struct Server {
    pub(crate) world: Arc<World>,
    pub(crate) rng: Rng,
    pub(crate) txns: Arc<Vec<Txn>>,
    pub(crate) filler: Filler,
    platter: Arc<Platter>,
    /// What capture's position is in, where that is no disk.
    stream: Option<Stream>,
    pub(crate) state: Mutex<State>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

pub(crate) const SYSTEM_ID: &str = "7300000000000000001";
pub(crate) const DATABASE: &str = "erp";

impl Server {
    pub(crate) fn new(
        world: &Arc<World>,
        platter: &Arc<Platter>,
        txns: Arc<Vec<Txn>>,
        filler: Filler,
        stream: Option<Stream>,
    ) -> Arc<Self> {
        let rng = world.rng.fork();
        let state = State {
            slot: None,
            start: 0,
            up_at_ms: 0,
            next_end_ms: rng.below(40_000),
            crashes: 0,
            timelines: Vec::new(),
            streaming: false,
            stopping: None,
            confirmed_ever: 0,
            slots: Slots::default(),
            lapses: if world.faulty(Kind::Tables) { Lapses::planned(&txns, &rng) } else { Lapses::default() },
        };
        let (world, platter) = (world.clone(), platter.clone());
        Arc::new(Self { world, rng, txns, filler, platter, stream, state: Mutex::new(state) })
    }

    /// Ends when it is time to; returns the start that is up, if one is.
    pub(crate) fn tick(&self) -> Option<u64> {
        let now = self.world.ms();
        let mut state = self.state.lock().unwrap();
        self.pass(&mut state);
        if now >= state.next_end_ms && state.stopping.is_none() && self.world.faulty(Kind::Server) {
            // the data folder often shares its disk with the server: whoever mends that stops both
            let full = self.platter.is_full();
            match self.rng.below(10) {
                chance if chance < 3 || full => {
                    self.world.note(|| "postgres shuts down".to_owned());
                    state.stopping = Some(Stopping { since_ms: now, sent_ms: None });
                    if !state.streaming {
                        self.go_down(&mut state);
                    }
                }
                3 => self.promote(&mut state),
                _ => self.crash(&mut state),
            }
        }
        if state.stopping.is_some_and(|stop| now > stop.sent_ms.unwrap_or(stop.since_ms) + 2 * HELD_MS) {
            self.go_down(&mut state);
        }
        (now >= state.up_at_ms).then_some(state.start)
    }

    /// What was confirmed since the slot was last written is forgotten.
    fn crash(&self, state: &mut State) {
        state.crashes += 1;
        if let Some(slot) = &mut state.slot {
            let back = slot.confirmed - slot.on_disk;
            slot.confirmed = slot.on_disk;
            slot.held_until_ms = 0;
            self.world.note(|| format!("postgres crashes and forgets {back} bytes of feedback"));
        }
        if self.world.strikes(Kind::Slot, &self.rng, 20) {
            self.lose_slot(state);
        }
        self.restart(state);
    }

    /// A standby with everything that we know takes over.
    fn promote(&self, state: &mut State) {
        let timeline = state.timelines.len() as u32 + 1;
        let fork = Lsn(self.end_of_wal(state));
        state.timelines.push((timeline, fork));
        self.world.note(|| format!("a standby is promoted: timeline {timeline} ends at {fork}"));
        self.restart(state);
    }

    fn restart(&self, state: &mut State) {
        state.start += 1;
        state.streaming = false;
        state.stopping = None;
        state.up_at_ms = self.world.ms() + self.rng.below(3_000);
        state.next_end_ms = state.up_at_ms + 1 + self.rng.below(60_000);
    }

    /// The end of a shutdown; slots are written.
    fn go_down(&self, state: &mut State) {
        let Some(stop) = state.stopping else { return };
        let held = self.world.ms() - stop.sent_ms.unwrap_or(stop.since_ms);
        if held > HELD_MS {
            self.world.violated(format!("postgres' shutdown was held up for {held} ms"));
        }
        self.world.note(|| format!("postgres is down, held up for {held} ms"));
        if let Some(slot) = &mut state.slot {
            slot.on_disk = slot.confirmed;
        }
        self.restart(state);
    }

    /// The walsender's connection has ended.
    pub(crate) fn hung_up(&self) {
        let mut state = self.state.lock().unwrap();
        state.streaming = false;
        self.go_down(&mut state);
    }

    /// In a shutdown: the walsender has sent everything. Gives what must be flushed.
    pub(crate) fn drained(&self) -> Option<u64> {
        let now = self.world.ms();
        let mut state = self.state.lock().unwrap();
        let end = self.end_of_wal(&state);
        let stop = state.stopping.as_mut()?;
        stop.sent_ms.get_or_insert(now);
        Some(end)
    }

    /// Connections are not taken any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().unwrap().stopping.is_some()
    }

    /// When something of its own happens next.
    pub(crate) fn next_end_ms(&self) -> u64 {
        if self.world.faulty(Kind::Server) { self.state.lock().unwrap().next_end_ms } else { u64::MAX }
    }

    /// The current timeline and where the earlier ones ended.
    pub(crate) fn timelines(&self) -> (u32, Vec<(u32, Lsn)>) {
        let ended = self.state.lock().unwrap().timelines.clone();
        (ended.len() as u32 + 1, ended)
    }

    pub(crate) fn crashes(&self) -> u64 {
        self.state.lock().unwrap().crashes
    }

    pub(crate) fn confirmed_ever(&self) -> u64 {
        self.state.lock().unwrap().confirmed_ever
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        self.state.lock().unwrap().slot
    }

    /// How many transactions are committed by now.
    pub(crate) fn committed(&self) -> usize {
        self.committed_at(self.last_ms(&self.state.lock().unwrap()))
    }
    fn committed_at(&self, ms: u64) -> usize {
        self.txns.partition_point(|txn| txn.at_ms <= ms)
    }
    /// In a shutdown nothing is written any more.
    fn last_ms(&self, state: &State) -> u64 {
        state.stopping.map_or_else(|| self.world.ms(), |stop| stop.since_ms)
    }

    /// End of WAL: behind the last commit, and what else the cluster writes since.
    pub(crate) fn wal_end(&self) -> u64 {
        self.end_of_wal(&self.state.lock().unwrap())
    }
    pub(crate) fn end_of_wal(&self, state: &State) -> u64 {
        let ms = self.last_ms(state);
        let committed = self.committed_at(ms);
        let Some(last) = self.txns[..committed].last() else { return self.txns[0].commit - 8 };
        let room = self.txns.get(committed).map_or(1 << 24, |next| next.commit - last.end);
        last.end + (room / 2).min((ms - last.at_ms) / 8 * 8)
    }

    pub(crate) fn slot_state(&self) -> Option<SlotState> {
        let now = self.world.ms();
        let (lost, streaming) = (self.is_lost(), self.state.lock().unwrap().streaming);
        self.slot().map(|slot| SlotState {
            plugin: "pgoutput".to_owned(),
            database: DATABASE.to_owned(),
            confirmed: Lsn(slot.confirmed),
            restart: (!lost).then_some(Lsn(slot.from.min(slot.confirmed))),
            wal_status: if lost { "lost" } else { "reserved" }.to_owned(),
            active_pid: (streaming || slot.held_until_ms > now).then_some(4711),
        })
    }

    /// The rows as of a consistent point.
    pub(crate) fn snapshot(&self, at: u64) -> Rows {
        let mut rows = Rows::new();
        for op in self.txns.iter().filter(|txn| txn.commit < at).flat_map(|txn| &txn.ops) {
            op.apply(&mut rows);
        }
        rows
    }

    /// The sidecar has died: for a while its walsender does not know.
    pub(crate) fn abandon(&self) {
        self.hung_up();
        let until = self.world.ms() + self.rng.below(400);
        if let Some(slot) = &mut self.state.lock().unwrap().slot {
            slot.held_until_ms = until;
        }
    }

    /// A standby status update. `received`: the furthest that was sent on this connection.
    pub(crate) async fn confirm(&self, flushed: u64, received: u64) {
        let Some(before) = self.slot().filter(|_| flushed > 0) else { return };
        if flushed > received {
            let (f, r) = (flushed, received);
            self.world.violated(format!("confirmed {f:x} although only {r:x} was received"));
        }
        if flushed > before.confirmed && self.rng.permille(12) {
            self.check_durable(flushed).await;
        }
        let to_disk = self.rng.permille(300);
        let mut state = self.state.lock().unwrap();
        state.confirmed_ever = state.confirmed_ever.max(flushed);
        if let Some(slot) = &mut state.slot {
            slot.confirmed = slot.confirmed.max(flushed);
            if to_disk {
                slot.on_disk = slot.confirmed;
            }
        }
        if state.stopping.is_some() && flushed >= self.end_of_wal(&state) {
            self.go_down(&mut state);
        }
    }

    /// Opens a store on what is surely durable: its position must have reached what it confirmed.
    pub(crate) async fn check_durable(&self, flushed: u64) {
        let position = match &self.stream {
            Some(stream) => crate::cluster::position_of(stream, &self.world).await,
            None => crate::wiring::position_of(&self.platter.certain(), &self.world).await,
        };
        match position {
            Ok(position) if position >= flushed => {}
            Ok(position) => {
                self.world.violated(format!("confirmed {flushed:x} but only {position:x} is durable"));
            }
            Err(error) => self.world.violated(format!("what is durable cannot be opened: {error}")),
        }
    }
}
