//! What people do to the ERP's tables while the sidecar runs: a table is out of the publication for a while, and comes back by somebody's
//! hand or by the sidecar's. Which of its events are then excused is what the sidecar has announced (SPEC 5.7), and nothing else.
use crate::erp::Txn;
use crate::plan::Kind;
use crate::postgres::{Server, State};
use crate::rng::Rng;
use crate::schema::{CLIENTS, INVOICES, PAYMENTS, TABLES};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tailhook::capture::{
    BoxFuture, CatalogLook, FillRow, FillRows, Refill, SourceError, TableGap, TableStanding,
};
use tailhook::domain::Lsn;
use tailhook::mapping::TablePlan;
use tokio::time::sleep;

/// A table was out of the publication: changes that commit at `from` or later and before `to` are not sent.
#[derive(Debug, Clone, Copy)]
struct Lapse {
    table: usize,
    from: u64,
    /// `None`: it still is.
    to: Option<u64>,
    /// When somebody puts it back, unless the sidecar does before.
    back_ms: u64,
}

/// All that happened to the tables, and what was announced of it.
#[derive(Debug, Default)]
pub(crate) struct Lapses {
    all: Vec<Lapse>,
    next_ms: u64,
    /// Gaps that stand, by table: where each began.
    open: BTreeMap<String, u64>,
    /// Of a table, from a commit, to before another.
    excused: Vec<(String, u64, u64)>,
}

/// What need not have an event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Excused(Vec<(String, u64, u64)>);

impl Excused {
    pub(crate) fn holds(&self, table: usize, commit: u64) -> bool {
        let name = name(table);
        self.0.iter().any(|(of, from, to)| *of == name && (*from..*to).contains(&commit))
    }
    /// Of any table: numbers in the transaction are others where events are missing.
    pub(crate) fn touches(&self, commit: u64) -> bool {
        self.0.iter().any(|(_, from, to)| (*from..*to).contains(&commit))
    }
}

impl Lapses {
    /// Some are over in the middle of the ERP's work, before anybody looks: what it does next meets rows that changed unseen.
    pub(crate) fn planned(txns: &[Txn], rng: &Rng) -> Self {
        let mut lapses = Self::default();
        for _ in 0..rng.below(4) {
            let first = 5 + rng.below(txns.len() as u64) as usize;
            let last = first + 1 + rng.below(4) as usize;
            let touched = txns.get(first).into_iter().flat_map(|txn| &txn.ops).map(crate::erp::Op::table);
            let table = touched.into_iter().find(|table| [INVOICES, CLIENTS, PAYMENTS].contains(table));
            let (Some(table), Some(until)) = (table, txns.get(last)) else { continue };
            let (from, to) = (txns[first].commit, until.commit);
            let beside = |other: &Lapse| {
                other.table == table && other.from <= to && other.to.is_none_or(|to| to >= from)
            };
            if !lapses.all.iter().any(beside) {
                lapses.all.push(Lapse { table, from, to: Some(to), back_ms: 0 });
            }
        }
        lapses
    }
}

impl Lapse {
    fn is_out(&self, end: u64) -> bool {
        self.from <= end && self.to.is_none_or(|to| to > end)
    }
}

fn name(table: usize) -> String {
    format!("{}.{}", TABLES[table].schema, TABLES[table].name)
}

impl Server {
    /// Time passes for the tables too.
    pub(crate) fn pass(&self, state: &mut State) {
        let (now, end) = (self.world.ms(), self.end_of_wal(state));
        for lapse in state.lapses.all.iter_mut().filter(|lapse| lapse.to.is_none() && lapse.back_ms <= now) {
            lapse.to = Some(end);
            self.world.note(|| format!("{} is back in the publication at {end:x}", name(lapse.table)));
        }
        if now < state.lapses.next_ms || !self.world.faulty(Kind::Tables) {
            return;
        }
        state.lapses.next_ms = now + 1 + self.rng.below(120_000);
        let table = *self.rng.pick(&[INVOICES, CLIENTS, PAYMENTS]).unwrap();
        // one that is planned, too
        let out = |lapse: &Lapse| lapse.table == table && lapse.to.is_none_or(|to| to >= end);
        if !state.lapses.all.iter().any(out) {
            // some come back before anybody looks
            let back_ms =
                now + if self.rng.permille(500) { self.rng.below(2_000) } else { self.rng.below(60_000) };
            state.lapses.all.push(Lapse { table, from: end, to: None, back_ms });
            self.world.note(|| format!("{} is taken out of the publication at {end:x}", name(table)));
        }
    }

    /// Is a change sent?
    pub(crate) fn publishes(&self, table: usize, commit: u64) -> bool {
        let state = self.state.lock().unwrap();
        let within = |lapse: &&Lapse| commit >= lapse.from && lapse.to.is_none_or(|to| commit < to);
        !state.lapses.all.iter().filter(|lapse| lapse.table == table).any(|lapse| within(&lapse))
    }

    /// How often a table has come back before a commit: the server tells its relation anew.
    pub(crate) fn returns(&self, table: usize, commit: u64) -> usize {
        let state = self.state.lock().unwrap();
        let back = |lapse: &&Lapse| lapse.table == table && lapse.to.is_some_and(|to| to <= commit);
        state.lapses.all.iter().filter(back).count()
    }

    /// How the tables stand.
    pub(crate) fn look(&self) -> CatalogLook {
        let state = self.state.lock().unwrap();
        let end = self.end_of_wal(&state);
        let standing = |(number, table): (usize, &crate::schema::TableSpec)| {
            let begun = |lapse: &&Lapse| lapse.table == number && lapse.from <= end;
            let lapses: Vec<&Lapse> = state.lapses.all.iter().filter(begun).collect();
            let out = lapses.iter().any(|lapse| lapse.is_out(end));
            let membership = if out { String::new() } else { format!("member {}", lapses.len()) };
            TableStanding { table: name(number), described: table.describe(), membership }
        };
        let tables = TABLES.iter().enumerate().map(standing).collect();
        CatalogLook { at: Lsn(end), tables }
    }

    /// The sidecar puts every table back.
    fn put_back(&self) {
        let mut state = self.state.lock().unwrap();
        let end = self.end_of_wal(&state);
        for lapse in state.lapses.all.iter_mut().filter(|lapse| lapse.is_out(end)) {
            lapse.to = Some(end);
            self.world.note(|| format!("the sidecar puts {} back at {end:x}", name(lapse.table)));
        }
    }

    /// Puts tables back and takes a snapshot, beside the stream.
    pub(crate) fn refill(
        self: &Arc<Self>,
        tables: Vec<TablePlan>,
    ) -> BoxFuture<'static, Result<Refill, SourceError>> {
        let server = self.clone();
        Box::pin(async move {
            server.reachable(40).await?;
            server.put_back();
            let look = server.look();
            // transactions that are open now
            let open = if server.rng.permille(300) { 5_000 } else { 100 };
            sleep(Duration::from_millis(server.rng.below(open))).await;
            server.reachable(20).await?;
            let at = server.wal_end();
            let of_these = |row: &FillRow| matches!(row, FillRow::Shadow(of, ..) if tables.iter().any(|plan| plan.table == *of));
            let mut rows: VecDeque<FillRow> = (server.filler)(&server.snapshot(at)).into();
            rows.retain(of_these);
            server.world.note(|| format!("a snapshot at {at:x} with {} rows", rows.len()));
            Ok(Refill { at: Lsn(at), look, rows: Box::new(RefillRows { server, rows }) })
        })
    }

    /// A connection of its own; it may break.
    async fn reachable(&self, permille: u64) -> Result<(), SourceError> {
        sleep(Duration::from_millis(1 + self.rng.below(5))).await;
        if self.tick().is_none()
            || self.is_stopping()
            || self.world.strikes(Kind::Server, &self.rng, permille)
        {
            return Err(SourceError::Retry("simulated: the connection beside the stream broke".to_owned()));
        }
        Ok(())
    }

    /// What the sidecar says of gaps of tables, whenever it says something else.
    pub(crate) fn announced(&self, gaps: &[TableGap]) {
        let mut state = self.state.lock().unwrap();
        let end = self.end_of_wal(&state);
        for gap in gaps {
            let before = state.lapses.open.insert(gap.table.clone(), gap.from.0);
            if before != Some(gap.from.0) {
                self.world.note(|| format!("gap of {} from {} on: {}", gap.table, gap.from, gap.reason));
            }
            // one that ended and another that began since
            if let Some(from) = before.filter(|from| *from < gap.from.0) {
                state.lapses.excused.push((gap.table.clone(), from, gap.from.0));
            }
        }
        let ended = |table: &String| !gaps.iter().any(|gap| gap.table == *table);
        let ended: Vec<String> = state.lapses.open.keys().filter(|table| ended(table)).cloned().collect();
        for table in ended {
            let from = state.lapses.open.remove(&table).unwrap_or_default();
            self.world.note(|| format!("the gap of {table} has ended before {end:x}"));
            state.lapses.excused.push((table, from, end));
        }
    }

    pub(crate) fn has_table_gaps(&self) -> bool {
        !self.state.lock().unwrap().lapses.open.is_empty()
    }

    /// What was announced, all in all.
    pub(crate) fn excused(&self) -> Excused {
        let lapses = &self.state.lock().unwrap().lapses;
        let open = lapses.open.iter().map(|(table, from)| (table.clone(), *from, u64::MAX));
        Excused(lapses.excused.iter().cloned().chain(open).collect())
    }

    pub(crate) fn table_gaps(&self) -> u64 {
        self.state.lock().unwrap().lapses.excused.len() as u64
    }
}

struct RefillRows {
    server: Arc<Server>,
    rows: VecDeque<FillRow>,
}

impl FillRows for RefillRows {
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>> {
        Box::pin(async move {
            sleep(Duration::from_millis(self.server.rng.below(200))).await;
            self.server.reachable(10).await?;
            let some = (1 + self.server.rng.below(6) as usize).min(self.rows.len());
            Ok(self.rows.drain(..some).collect())
        })
    }
}
