//! Frames of the stream → committed transactions. Pure and bounded. Knows no connection and no rules; the catalog is
//! asked by whoever feeds it.
use crate::capture::SourceError;
use crate::capture::decode::pgoutput::{Message, OldTuple, Relation, Tuple, TupleValue, decode};
use crate::capture::decode::relation::{KnownRelation, Relations};
use crate::capture::decode::value;
use crate::domain::{Cell, Change, Image, Lsn, Operation, Table, Transaction};
use bytes::Bytes;
use std::mem::size_of;
use std::sync::Arc;

/// Most bytes that one transaction may hold in memory.
pub const DEFAULT_LIMIT: usize = 512 << 20;

/// What a frame came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More is needed.
    Nothing,
    /// Ask the catalog for this relation and say `described` before the next `feed`.
    Describe(u32),
    /// A committed transaction; one without changes still moves the position.
    Transaction(Box<Transaction>),
}

/// Assembles the frames of one connection.
#[derive(Debug)]
pub struct Assembler {
    relations: Relations,
    open: Option<Open>,
    limit: usize,
}

#[derive(Debug)]
struct Open {
    transaction: Transaction,
    bytes: usize,
}

impl Assembler {
    /// For a new connection; a transaction of more than `limit` bytes is an error.
    pub fn new(limit: usize) -> Self {
        Self { relations: Relations::default(), open: None, limit }
    }

    /// Begin was fed and its Commit not.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Where the open transaction commits.
    pub fn commits_at(&self) -> Option<Lsn> {
        self.open.as_ref().map(|open| open.transaction.commit_lsn)
    }

    /// One `XLogData` frame: its start, its data.
    pub fn feed(&mut self, start: Lsn, data: Bytes) -> Result<Step, SourceError> {
        let malformed = |what: String| SourceError::Malformed(format!("at {start}: {what}"));
        if let Some(oid) = self.relations.awaited() {
            return Err(malformed(format!("relation {oid} was never described")));
        }
        let bytes = data.len();
        let message = decode(data).map_err(|error| malformed(error.to_string()))?;
        self.accept(message, bytes).map_err(|refused| match refused {
            Refused::Malformed(what) => malformed(what),
            Refused::TooLarge(what) => SourceError::Operator(format!("at {start}: {what}")),
        })
    }

    /// The catalog's answer to `Step::Describe`. One without columns: the table is gone by now.
    pub fn described(&mut self, table: &Table) -> Option<Arc<Table>> {
        self.relations.described(table)
    }

    fn accept(&mut self, message: Message, bytes: usize) -> Result<Step, Refused> {
        match message {
            Message::Begin { commit_lsn, commit_us, xid } => self.begin(commit_lsn, commit_us, xid)?,
            Message::Commit { commit_lsn, end_lsn, .. } => return self.commit(commit_lsn, end_lsn),
            Message::Relation(relation) => return Ok(self.announce(relation)),
            Message::Insert { relation, new } => {
                self.change(relation, Operation::Insert, bytes, None, Some(&new))?;
            }
            Message::Update { relation, old, new } => {
                self.change(relation, Operation::Update, bytes, old.as_ref(), Some(&new))?;
            }
            Message::Delete { relation, old } => {
                self.change(relation, Operation::Delete, bytes, Some(&old), None)?;
            }
            Message::Truncate { relations, .. } => {
                for relation in relations {
                    self.change(relation, Operation::Truncate, bytes, None, None)?;
                }
            }
            // a heartbeat (`tailhook.heartbeat`) does its work by its commit; events by message are not built yet;
            // types are known from the catalog
            Message::Logical { .. } | Message::Type { .. } | Message::Origin { .. } => {}
        }
        Ok(Step::Nothing)
    }

    fn announce(&mut self, relation: Relation) -> Step {
        let oid = relation.oid;
        self.relations.announce(relation);
        Step::Describe(oid)
    }

    fn begin(&mut self, commit_lsn: Lsn, commit_us: i64, xid: u32) -> Result<(), Refused> {
        if let Some(open) = &self.open {
            return Err(Refused::Malformed(format!(
                "transaction {xid} begins inside {}",
                open.transaction.xid
            )));
        }
        let transaction = Transaction { xid, commit_lsn, end_lsn: Lsn::ZERO, commit_us, changes: Vec::new() };
        self.open = Some(Open { transaction, bytes: 0 });
        Ok(())
    }

    fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<Step, Refused> {
        let Some(open) = self.open.take() else {
            return Err(Refused::Malformed(format!("commit {commit_lsn} of no transaction")));
        };
        let mut transaction = open.transaction;
        if transaction.commit_lsn != commit_lsn || end_lsn < commit_lsn {
            return Err(Refused::Malformed(format!(
                "transaction {} began for commit {} and ended with commit {commit_lsn}, end {end_lsn}",
                transaction.xid, transaction.commit_lsn
            )));
        }
        transaction.end_lsn = end_lsn;
        Ok(Step::Transaction(Box::new(transaction)))
    }

    fn change(
        &mut self,
        relation: u32,
        op: Operation,
        bytes: usize,
        old: Option<&OldTuple>,
        new: Option<&Tuple>,
    ) -> Result<(), Refused> {
        let Some(known) = self.relations.get(relation) else {
            return Err(Refused::Malformed(format!(
                "a change of relation {relation}, which was not announced"
            )));
        };
        let Some(open) = &mut self.open else {
            return Err(Refused::Malformed(format!("a change of relation {relation} outside a transaction")));
        };
        let old = match old {
            Some(OldTuple::Key(tuple)) => Some(key_image(known, tuple)?),
            Some(OldTuple::Row(tuple)) => Some(image(known, tuple)?),
            None => None,
        };
        let new = new.map(|tuple| image(known, tuple)).transpose()?;
        let cells = old.as_ref().map_or(0, Vec::len) + new.as_ref().map_or(0, Vec::len);
        open.bytes += bytes
            + size_of::<Change>()
            + cells * size_of::<Cell>()
            + rendered(old.as_ref())
            + rendered(new.as_ref());
        if open.bytes > self.limit {
            return Err(Refused::TooLarge(format!(
                "transaction {} holds more than {} MiB of changes of published tables (so far {} changes): transactions \
                 of that size are not supported yet",
                open.transaction.xid,
                self.limit >> 20,
                open.transaction.changes.len()
            )));
        }
        open.transaction.changes.push(Change { op, table: Arc::clone(&known.table), old, new });
        Ok(())
    }
}

enum Refused {
    Malformed(String),
    TooLarge(String),
}

/// What an image's values take beside the frame that they may be slices of.
fn rendered(image: Option<&Image>) -> usize {
    let length = |cell: &Cell| if let Cell::Json(json) = cell { json.len() } else { 0 };
    image.map_or(0, |cells| cells.iter().map(length).sum())
}

fn image(known: &KnownRelation, tuple: &Tuple) -> Result<Image, Refused> {
    let columns = &known.table.columns;
    if columns.len() != tuple.len() {
        return Err(Refused::Malformed(format!(
            "{} has {} columns, a tuple of it {}",
            known.table.full_name(),
            columns.len(),
            tuple.len()
        )));
    }
    let cell = |(column, cell): (&crate::domain::Column, &TupleValue)| match cell {
        TupleValue::Null => Ok(Cell::Null),
        TupleValue::Unchanged => Ok(Cell::NotSent),
        TupleValue::Text(text) => Ok(Cell::Json(value::render(&column.kind, text))),
        TupleValue::Binary(_) => Err(Refused::Malformed(format!(
            "{}.{} came in binary, which was not asked for",
            known.table.full_name(),
            column.name
        ))),
    };
    columns.iter().zip(tuple).map(cell).collect()
}

/// A key-only old tuple: what is not part of the key comes as null and means "not sent".
fn key_image(known: &KnownRelation, tuple: &Tuple) -> Result<Image, Refused> {
    let mut cells = image(known, tuple)?;
    for (cell, key) in cells.iter_mut().zip(&known.key) {
        if !key {
            *cell = Cell::NotSent;
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests;
