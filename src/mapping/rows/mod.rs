//! The rows that one transaction touches: what is known of each before and after every change, followed through key
//! changes, and what the shadow is to remember afterwards. Knows no rules beyond the shadow's plan.
pub(in crate::mapping) mod cell;
pub mod shadow;

use crate::domain::{Cell, Change, Image, Operation, Table};
use crate::mapping::rows::shadow::{TablePlan, encode_key};
use crate::mapping::{Remembered, ShadowChange};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// A row that the transaction touched.
#[derive(Debug)]
pub(in crate::mapping) struct NetRow {
    /// The layout of its images.
    pub(in crate::mapping) table: Arc<Table>,
    /// The last image, as far as it is known.
    pub(in crate::mapping) image: Image,
    /// The last image before a delete, if there was one.
    pub(in crate::mapping) deleted: Option<Image>,
    /// Rules (their numbers) that matched and want one event a transaction.
    pub(in crate::mapping) matched: Vec<usize>,
}

/// What a change did to a row.
#[derive(Debug)]
pub(in crate::mapping) struct RowStep {
    /// Number of the row.
    pub(in crate::mapping) row: usize,
    /// The old image as far as it is known; `None` for inserts.
    pub(in crate::mapping) old: Option<Image>,
}

/// What the shadow held of the rows before the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Before {
    /// It was asked.
    Remembered,
    /// It could not be asked: what is gone is forgotten, whether it was there or not.
    Unknown,
}

#[derive(Debug)]
struct RowPlace {
    /// What the shadow held when the transaction began, if it was asked and had something.
    before: Option<Bytes>,
    row: Option<usize>,
    alive: bool,
}

/// The rows of one transaction. Tables are numbered by the caller.
pub(in crate::mapping) struct NetRows<'a, E> {
    remembered: Remembered<'a, E>,
    all: Vec<NetRow>,
    places: HashMap<(usize, Bytes), RowPlace>,
    /// Keys in the order in which they were first touched.
    touched: Vec<(usize, Bytes)>,
    cleared: Vec<usize>,
    /// Old tuples that said something else than the shadow.
    pub(in crate::mapping) disagreements: u32,
}

impl<'a, E> NetRows<'a, E> {
    /// None yet.
    pub(in crate::mapping) fn new(remembered: Remembered<'a, E>) -> Self {
        Self {
            remembered,
            all: Vec::new(),
            places: HashMap::new(),
            touched: Vec::new(),
            cleared: Vec::new(),
            disagreements: 0,
        }
    }
    /// One row.
    pub(in crate::mapping) fn row(&self, row: usize) -> Option<&NetRow> {
        self.all.get(row)
    }
    /// The same, to be marked.
    pub(in crate::mapping) fn row_mut(&mut self, row: usize) -> Option<&mut NetRow> {
        self.all.get_mut(row)
    }

    /// Applies one change of table number `number`. An error is the shadow's: the derivation is tried again.
    pub(in crate::mapping) fn apply(
        &mut self,
        number: usize,
        plan: Option<&TablePlan>,
        change: &Change,
    ) -> Result<Option<RowStep>, E> {
        Ok(match change.op {
            Operation::Insert => Some(self.insert(number, change)),
            Operation::Update => Some(self.update(number, plan, change)?),
            Operation::Delete => Some(self.delete(number, plan, change)?),
            Operation::Truncate => {
                self.truncate(number);
                None
            }
        })
    }

    fn insert(&mut self, number: usize, change: &Change) -> RowStep {
        let image = sized(change.new.as_ref(), &change.table);
        let Some(key) = key_of(&change.table, &image) else {
            return RowStep { row: self.fresh(&change.table, image), old: None };
        };
        // a row that was deleted before in this transaction is the same row: one event of a rule is enough
        let row = match self.places.get(&(number, key.clone())).and_then(|place| place.row) {
            Some(row) => self.set(row, &change.table, image),
            None => self.fresh(&change.table, image),
        };
        self.place(number, key, None, row);
        RowStep { row, old: None }
    }

    fn update(&mut self, number: usize, plan: Option<&TablePlan>, change: &Change) -> Result<RowStep, E> {
        let table = &change.table;
        let sent = sized(change.new.as_ref(), table);
        let key = change.old.as_ref().and_then(|old| key_of(table, old)).or_else(|| key_of(table, &sent));
        let (before, prior) = self.known(number, plan, key.as_ref(), change)?;
        let mut old = sized(change.old.as_ref(), table);
        fill(&mut old, &prior);
        // an old tuple is left out only when the key did not change
        for &at in &table.primary_key {
            if let (Some(old @ Cell::NotSent), Some(new)) = (old.get_mut(at), sent.get(at)) {
                *old = new.clone();
            }
        }
        let mut new = sent;
        fill(&mut new, &old);
        let old_key = key;
        let new_key = key_of(table, &new);
        let known = old_key.as_ref().and_then(|key| self.places.get(&(number, key.clone())));
        let row = match known.and_then(|place| place.row) {
            Some(row) => self.set(row, table, new),
            None => self.fresh(table, new),
        };
        if let Some(old_key) = old_key {
            let moved = new_key.as_ref() != Some(&old_key);
            self.place(number, old_key.clone(), before, row);
            if moved && let Some(place) = self.places.get_mut(&(number, old_key)) {
                (place.row, place.alive) = (None, false);
            }
        }
        if let Some(new_key) = new_key {
            self.place(number, new_key, None, row);
        }
        Ok(RowStep { row, old: Some(old) })
    }

    fn delete(&mut self, number: usize, plan: Option<&TablePlan>, change: &Change) -> Result<RowStep, E> {
        let table = &change.table;
        let mut old = sized(change.old.as_ref(), table);
        let key = key_of(table, &old);
        let (before, prior) = self.known(number, plan, key.as_ref(), change)?;
        fill(&mut old, &prior);
        let known = key.as_ref().and_then(|key| self.places.get(&(number, key.clone())));
        let row = match known.and_then(|place| place.row) {
            Some(row) => self.set(row, table, old.clone()),
            None => self.fresh(table, old.clone()),
        };
        if let Some(row) = self.all.get_mut(row) {
            row.deleted = Some(old.clone());
        }
        if let Some(key) = key {
            self.place(number, key.clone(), before, row);
            if let Some(place) = self.places.get_mut(&(number, key)) {
                place.alive = false;
            }
        }
        Ok(RowStep { row, old: Some(old) })
    }

    fn truncate(&mut self, number: usize) {
        for ((table, _), place) in &mut self.places {
            if *table == number {
                *place = RowPlace { before: None, row: place.row, alive: false };
            }
        }
        if !self.cleared.contains(&number) {
            self.cleared.push(number);
        }
    }

    /// What is known of a key's row: its image in this transaction, or what the shadow remembers.
    fn known(
        &mut self,
        number: usize,
        plan: Option<&TablePlan>,
        key: Option<&Bytes>,
        change: &Change,
    ) -> Result<(Option<Bytes>, Image), E> {
        let table = &change.table;
        let unknown = (None, Vec::new());
        let Some(key) = key else { return Ok(unknown) };
        if let Some(place) = self.places.get(&(number, key.clone())) {
            let row = place.row.filter(|_| place.alive).and_then(|row| self.all.get(row));
            let image = row.map(|row| relaid(&row.image, &row.table, table)).unwrap_or_default();
            return Ok((place.before.clone(), image));
        }
        let Some(plan) = plan.filter(|_| !self.cleared.contains(&number)) else { return Ok(unknown) };
        let Some(bytes) = (self.remembered)(&plan.table, key)? else { return Ok(unknown) };
        let mut image = vec![Cell::NotSent; table.columns.len()];
        // bytes of another plan are as good as none; the row is remembered anew with this change
        for (column, cell) in plan.columns.iter().zip(plan.decode(&bytes).unwrap_or_default()) {
            if let Some(at) = table.position(column) {
                image[at] = cell;
            }
        }
        self.disagreements += disagreements(table, change.old.as_ref(), &image);
        Ok((Some(bytes), image))
    }

    fn fresh(&mut self, table: &Arc<Table>, image: Image) -> usize {
        self.all.push(NetRow { table: Arc::clone(table), image, deleted: None, matched: Vec::new() });
        self.all.len() - 1
    }

    fn set(&mut self, number: usize, table: &Arc<Table>, image: Image) -> usize {
        if let Some(row) = self.all.get_mut(number) {
            if !Arc::ptr_eq(&row.table, table) {
                row.deleted = row.deleted.take().map(|deleted| relaid(&deleted, &row.table, table));
                row.table = Arc::clone(table);
            }
            row.image = image;
        }
        number
    }

    fn place(&mut self, number: usize, key: Bytes, before: Option<Bytes>, row: usize) {
        let at = (number, key);
        if let Some(place) = self.places.get_mut(&at) {
            (place.row, place.alive) = (Some(row), true);
        } else {
            self.touched.push(at.clone());
            self.places.insert(at, RowPlace { before, row: Some(row), alive: true });
        }
    }

    /// What the shadow is to remember now. Only the end of the transaction counts, and only what differs.
    pub(in crate::mapping) fn shadow<'p>(
        &self,
        plan: impl Fn(usize) -> Option<&'p TablePlan>,
        before: Before,
    ) -> Vec<ShadowChange> {
        let mut changes: Vec<ShadowChange> = Vec::new();
        for number in &self.cleared {
            changes.extend(plan(*number).map(|plan| ShadowChange::Clear { table: Arc::clone(&plan.table) }));
        }
        for at in &self.touched {
            let (Some(plan), Some(place)) = (plan(at.0), self.places.get(at)) else { continue };
            let (table, key) = (Arc::clone(&plan.table), at.1.clone());
            let row = place.row.filter(|_| place.alive).and_then(|row| self.all.get(row));
            match row {
                Some(row) => {
                    let columns = plan.encode_image(&row.table, &row.image);
                    if place.before.as_ref() != Some(&columns) {
                        changes.push(ShadowChange::Put { table, key, columns });
                    }
                }
                None if place.before.is_some() || before == Before::Unknown => {
                    changes.push(ShadowChange::Forget { table, key });
                }
                None => {}
            }
        }
        changes
    }
}

/// The encoded primary key, if all of it is there.
pub(in crate::mapping) fn key_of(table: &Table, image: &[Cell]) -> Option<Bytes> {
    let cells: Option<Vec<Cell>> = table.primary_key.iter().map(|&at| image.get(at).cloned()).collect();
    encode_key(&cells?)
}

/// An image with exactly one cell a column, whatever was sent.
fn sized(image: Option<&Image>, table: &Table) -> Image {
    let mut image = image.cloned().unwrap_or_default();
    image.resize(table.columns.len(), Cell::NotSent);
    image
}

fn fill(image: &mut [Cell], from: &[Cell]) {
    for (cell, known) in image.iter_mut().zip(from) {
        if *cell == Cell::NotSent {
            *cell = known.clone();
        }
    }
}

/// An image in another layout of its table (ALTER TABLE inside the transaction).
fn relaid(image: &Image, from: &Arc<Table>, to: &Arc<Table>) -> Image {
    if Arc::ptr_eq(from, to) || from.columns == to.columns {
        return image.clone();
    }
    let cell = |name| from.position(name).and_then(|at| image.get(at)).cloned().unwrap_or(Cell::NotSent);
    to.columns.iter().map(|column| cell(&column.name)).collect()
}

fn disagreements(table: &Table, sent: Option<&Image>, remembered: &[Cell]) -> u32 {
    let Some(sent) = sent else { return 0 };
    let differ = table.columns.iter().zip(sent.iter().zip(remembered)).any(|(column, (sent, known))| {
        *sent != Cell::NotSent && *known != Cell::NotSent && !cell::same(&column.kind, sent, known)
    });
    u32::from(differ)
}
