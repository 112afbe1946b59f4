//! A simulated Postgres: the WAL of a history, one slot, a walsender that speaks real bytes, crashes that forget recent
//! feedback. Checks what it is told. Knows nothing of the sidecar's inside but the `Source` seam.
use crate::disk::Platter;
use crate::erp::{Rows, Txn};
use crate::rng::Rng;
use crate::world::World;
use std::sync::{Arc, Mutex};
use tailhook::capture::SlotState;

/// Writes the rows of a first snapshot as the real source would.
pub(crate) type Filler = Box<dyn Fn(&Rows) -> Vec<tailhook::capture::FillRow> + Send + Sync>;

/// The slot, in the server's memory and on its disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) confirmed: u64,
    /// What a crash of the server falls back to.
    on_disk: u64,
    /// Its consistent point.
    pub(crate) from: u64,
    /// A walsender of an earlier life still holds it until then.
    held_until_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    slot: Option<Slot>,
    /// Counts the server's starts: connections of an earlier one are dead.
    start: u64,
    up_at_ms: u64,
    next_crash_ms: u64,
    crashes: u64,
    /// The furthest that was ever confirmed, crashes of the server or not.
    confirmed_ever: u64,
}

/// The server; outlives every life of the sidecar.
pub(crate) struct Server {
    pub(crate) world: Arc<World>,
    pub(crate) rng: Rng,
    pub(crate) txns: Arc<Vec<Txn>>,
    pub(crate) filler: Filler,
    platter: Arc<Platter>,
    state: Mutex<State>,
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
    ) -> Arc<Self> {
        let rng = world.rng.fork();
        let state = State { next_crash_ms: rng.below(40_000), ..State::default() };
        let (world, platter) = (world.clone(), platter.clone());
        Arc::new(Self { world, rng, txns, filler, platter, state: Mutex::new(state) })
    }

    /// Crashes when it is time to; returns the start that is up, if one is.
    pub(crate) fn tick(&self) -> Option<u64> {
        let now = self.world.ms();
        let mut state = self.state.lock().unwrap();
        if now >= state.next_crash_ms && self.world.faulty() {
            state.start += 1;
            state.crashes += 1;
            state.up_at_ms = now + self.rng.below(3_000);
            state.next_crash_ms = state.up_at_ms + 1 + self.rng.below(60_000);
            if let Some(slot) = &mut state.slot {
                let back = slot.confirmed - slot.on_disk;
                slot.confirmed = slot.on_disk;
                slot.held_until_ms = 0;
                self.world.note(|| format!("postgres crashes and forgets {back} bytes of feedback"));
            }
        }
        (now >= state.up_at_ms).then_some(state.start)
    }

    /// When something of its own happens next.
    pub(crate) fn next_crash_ms(&self) -> u64 {
        if self.world.faulty() { self.state.lock().unwrap().next_crash_ms } else { u64::MAX }
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
        let now = self.world.ms();
        self.txns.partition_point(|txn| txn.at_ms <= now)
    }

    /// End of WAL: behind the last commit, and what else the cluster writes since.
    pub(crate) fn wal_end(&self) -> u64 {
        let committed = self.committed();
        let Some(last) = self.txns[..committed].last() else { return self.txns[0].commit - 8 };
        let room = self.txns.get(committed).map_or(1 << 24, |next| next.commit - last.end);
        last.end + (room / 2).min((self.world.ms() - last.at_ms) / 8 * 8)
    }

    pub(crate) fn slot_state(&self) -> Option<SlotState> {
        let now = self.world.ms();
        self.slot().map(|slot| SlotState {
            plugin: "pgoutput".to_owned(),
            database: DATABASE.to_owned(),
            confirmed: tailhook::domain::Lsn(slot.confirmed),
            restart: Some(tailhook::domain::Lsn(slot.from.min(slot.confirmed))),
            wal_status: "reserved".to_owned(),
            active_pid: (slot.held_until_ms > now).then_some(4711),
        })
    }

    pub(crate) fn make_slot(&self) -> u64 {
        let from = self.wal_end();
        let slot = Slot { confirmed: from, on_disk: from, from, held_until_ms: 0 };
        self.state.lock().unwrap().slot = Some(slot);
        self.world.note(|| format!("slot made at {from:x}"));
        from
    }

    pub(crate) fn drop_slot(&self) {
        self.state.lock().unwrap().slot = None;
        self.world.note(|| "slot dropped".to_owned());
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
        if flushed > before.confirmed && self.rng.permille(60) {
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
    }

    /// Opens a store on what is surely on the sidecar's disk: its position must have reached what it confirmed.
    pub(crate) async fn check_durable(&self, flushed: u64) {
        match crate::wiring::position_of(&self.platter.certain(), &self.world).await {
            Ok(position) if position >= flushed => {}
            Ok(position) => {
                self.world.violated(format!("confirmed {flushed:x} but only {position:x} is durable"));
            }
            Err(error) => self.world.violated(format!("what is durable cannot be opened: {error}")),
        }
    }
}
