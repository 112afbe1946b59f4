//! Purpose: tables that are filled anew while the stream goes on: their rows as of a snapshot, and over them what the stream changes behind
//! the snapshot's point. Must not: commit, or decide when.
use crate::capture::follow::memory::Memory;
use crate::capture::source::{CatalogLook, FillRow, Refill, Source, SourceError};
use crate::domain::{KeepingError, Lsn};
use crate::mapping::rows::shadow::TablePlan;
use crate::mapping::{Plan, ShadowChange};
use crate::store::{Checkpoint, Record};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Rows that the stream may have changed meanwhile; with more of them reading pauses, or the fill begins again.
const MOST_CHANGED: usize = 200_000;

/// What comes next of a fill.
pub(in crate::capture) enum RefillStep {
    /// The snapshot is taken.
    Begun(Lsn, CatalogLook),
    /// Rows of it.
    Rows(Vec<FillRow>),
    /// There are no more.
    Read,
    /// It ends here; it is to be tried again.
    Failed(SourceError),
}

/// A row of a table.
type RowKey = (Arc<str>, Bytes);

/// One fill. Dropped, it is given up.
pub(in crate::capture) struct Refilling {
    tables: Vec<String>,
    steps: mpsc::Receiver<RefillStep>,
    _reader: JoinSet<()>,
    /// The snapshot's point and how the tables stood before it.
    begun: Option<(Lsn, CatalogLook)>,
    read: bool,
    /// What the stream left of rows, and the commit; only what commits at the point or later counts.
    changed: BTreeMap<RowKey, (Lsn, Option<Bytes>)>,
    truncated: BTreeMap<Arc<str>, Lsn>,
    /// Changes up to this commit were not kept.
    forgotten: Lsn,
}

impl Refilling {
    /// Begins: `tables` are to be filled, `plans` those of them whose rows are remembered.
    pub(in crate::capture) fn begin<S: Source>(
        source: &S,
        tables: Vec<String>,
        plans: Vec<TablePlan>,
    ) -> Self {
        let (steps, arriving) = mpsc::channel(1);
        let asked = source.refill(plans);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            if let Err(failed) = read(asked.await, &steps).await {
                // nobody waits any more: the fill was given up
                let _given_up = steps.send(RefillStep::Failed(failed)).await;
            }
        });
        Self {
            tables,
            steps: arriving,
            _reader: reader,
            begun: None,
            read: false,
            changed: BTreeMap::new(),
            truncated: BTreeMap::new(),
            forgotten: Lsn::ZERO,
        }
    }

    /// The next step. Cancel-safe; never comes after `Read` and `Failed`.
    pub(in crate::capture) async fn next(&mut self) -> RefillStep {
        match self.steps.recv().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// The snapshot is taken. An error says why it cannot be used.
    pub(in crate::capture) fn taken(&mut self, at: Lsn, look: CatalogLook) -> Result<(), String> {
        debug_assert!(self.begun.is_none(), "one snapshot a fill");
        if self.forgotten >= at {
            return Err("too many rows changed while it waited for open transactions".to_owned());
        }
        let published = |table: &&String| {
            look.tables.iter().any(|standing| standing.table == **table && !standing.membership.is_empty())
        };
        if let Some(missing) = self.tables.iter().find(|table| !published(table)) {
            return Err(format!("{missing} is not in the publication"));
        }
        self.begun = Some((at, look));
        Ok(())
    }

    /// All rows were taken.
    pub(in crate::capture) fn is_read(&mut self) {
        self.read = true;
    }

    /// The point that the stream must have passed before the fill is complete; `None`: rows are missing.
    pub(in crate::capture) fn ends_behind(&self) -> Option<Lsn> {
        self.begun.as_ref().filter(|_| self.read).map(|(at, _)| *at)
    }

    /// Reading of the stream pauses while the rest of the rows is read.
    pub(in crate::capture) fn is_full(&self) -> bool {
        self.begun.is_some() && !self.read && self.changed.len() >= MOST_CHANGED
    }

    /// What durable transactions changed in gaps of their tables.
    pub(in crate::capture) fn follow(&mut self, aside: Vec<(Lsn, ShadowChange)>) {
        let at = self.begun.as_ref().map_or(Lsn::ZERO, |(at, _)| *at);
        for (commit, change) in aside.into_iter().filter(|(commit, _)| *commit >= at) {
            match change {
                ShadowChange::Put { table, key, columns } => {
                    self.changed.insert((table, key), (commit, Some(columns)));
                }
                ShadowChange::Forget { table, key } => {
                    self.changed.insert((table, key), (commit, None));
                }
                ShadowChange::Clear { table } => {
                    self.changed.retain(|(of, _), _| *of != table);
                    self.truncated.insert(table, commit);
                }
            }
            if self.begun.is_none() && self.changed.len() >= MOST_CHANGED {
                self.changed.clear();
                self.forgotten = commit;
            }
        }
    }

    /// Nothing of an earlier fill that was given up may be left where the rows are put.
    pub(in crate::capture) fn cleared(&self, memory: &Memory) -> Vec<Record> {
        let lines = self.tables.iter().filter_map(|table| memory.next_line(table));
        lines.map(|table| Record::ShadowClear { table }).collect()
    }

    /// Where the tables stand as they did before the snapshot, their gaps end; the others stay in theirs. Gives those tables.
    pub(in crate::capture) fn complete(
        &self,
        memory: &mut Memory,
        plan: &Plan,
    ) -> (Vec<String>, Vec<Record>) {
        let Some((_, look)) = &self.begun else { return (Vec::new(), Vec::new()) };
        let filled = |table: &&String| {
            let standing = look.tables.iter().find(|standing| standing.table == **table);
            standing.filter(|standing| memory.tables.stands(standing, plan, look.at)).cloned()
        };
        let standings: Vec<_> = self.tables.iter().filter_map(|table| filled(&table)).collect();
        let records =
            standings.iter().flat_map(|standing| memory.refilled(standing, plan, look.at)).collect();
        (standings.into_iter().map(|standing| standing.table).collect(), records)
    }

    /// What the stream changed over the snapshot's rows, as records. Reads the index: call it where a thread may wait.
    pub(in crate::capture) fn over(
        &self,
        memory: &Memory,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<Record>, KeepingError> {
        let Some((at, _)) = self.begun else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        let truncated: BTreeSet<_> = self.truncated.iter().filter(|(_, commit)| **commit >= at).collect();
        for (table, _) in &truncated {
            records.extend(memory.next_line(table).map(|table| Record::ShadowClear { table }));
        }
        for ((table, key), (_, columns)) in self.changed.iter().filter(|(_, (commit, _))| *commit >= at) {
            let (Some(line), Some(plan)) = (memory.next_line(table), memory.plan(table)) else { continue };
            let columns = match columns {
                Some(columns) if !truncated.iter().any(|(of, _)| *of == table) => {
                    let below = checkpoint.shadow(&line, key)?;
                    Some(below.map_or_else(|| columns.clone(), |below| plan.over(&below, columns)))
                }
                columns => columns.clone(),
            };
            records.push(Record::Shadow { table: line, key: key.clone(), columns });
        }
        Ok(records)
    }
}

async fn read(
    asked: Result<Refill, SourceError>,
    steps: &mpsc::Sender<RefillStep>,
) -> Result<(), SourceError> {
    let Refill { at, look, mut rows } = asked?;
    let mut next = RefillStep::Begun(at, look);
    // an error of `send`: it was given up
    while steps.send(next).await.is_ok() {
        let chunk = rows.next_rows().await?;
        if chunk.is_empty() {
            let _given_up = steps.send(RefillStep::Read).await;
            break;
        }
        next = RefillStep::Rows(chunk);
    }
    Ok(())
}
