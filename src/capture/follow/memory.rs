//! Where the shadow's rows lie in the store: each table's under the line of the plan that encoded them, so that a mapping
//! that remembers more can be filled beside what is known, and a table that is another one now (`tables`) beside what it was. Knows no rules.
//!
//! While a table is filled, each of its rows lies under one line only: a row that is written leaves the others. What was begun
//! is noted (`+` before the line), so that a mapping which comes back before the fill was complete is filled again
//! instead of being taken for whole.
use crate::capture::follow::tables::{FollowedTables, NOTED};
use crate::capture::source::{FillRow, TableStanding};
use crate::domain::{KeepingError, Lsn};
use crate::fault;
use crate::mapping::rows::shadow::{TablePlan, parse_line};
use crate::mapping::{Mapping, Plan, ShadowChange};
use crate::store::{Checkpoint, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
struct TablePlace {
    line: Arc<str>,
    plan: TablePlan,
    /// Until the fill is complete: the lines and the columns of the plans before.
    previous: Vec<OldLine>,
    filled: bool,
}

/// A line that rows may lie under, and its columns.
type OldLine = (Arc<str>, Vec<Arc<str>>);

/// Before a line whose fill was begun.
const BEGUN: char = '+';

/// The places of all remembered tables.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    places: BTreeMap<Arc<str>, TablePlace>,
    /// Lines that nothing refers to any more.
    obsolete: Vec<Arc<str>>,
    /// By what the tables are followed.
    pub tables: FollowedTables,
}

impl Memory {
    /// The mapping beside what is noted of its tables and of the lines that their rows lie under (`Identity::shadow_plan`).
    pub fn new(mapping: &Mapping, noted: &str) -> Self {
        let mapped = mapping.tables().into_iter().map(|needs| needs.table.to_string());
        let tables = FollowedTables::new(mapped, noted);
        let mut before: BTreeMap<String, Vec<OldLine>> = BTreeMap::new();
        let mut obsolete = Vec::new();
        let of_rows = noted.lines().filter(|line| !line.starts_with(NOTED));
        for line in of_rows.map(|line| line.trim_start_matches(BEGUN)) {
            match parse_line(line) {
                Some(said) if said.generation == tables.generation(&said.table) => {
                    before.entry(said.table).or_default().push((Arc::from(line), said.columns));
                }
                // of what the table was before it was filled anew
                Some(_) => obsolete.push(Arc::from(line)),
                None => {}
            }
        }
        let places = mapping.plan().tables().map(|table| {
            let line: Arc<str> = Arc::from(table.line(tables.generation(&table.table)));
            let mut previous = before.remove(&*table.table).unwrap_or_default();
            let whole = previous.len() == 1 && noted.lines().any(|noted| *noted == *line);
            previous.retain(|(old, _)| *old != line);
            (table.table.clone(), TablePlace { line, plan: table.clone(), previous, filled: whole })
        });
        let places = places.collect();
        obsolete.extend(before.into_values().flatten().map(|(line, _)| line));
        Self { places, obsolete, tables }
    }
    /// What is to be noted: the lines that rows lie under, and what is known of the tables.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for place in self.places.values() {
            let mark = if place.filled { String::new() } else { BEGUN.to_string() };
            lines.extend(place.previous.iter().map(|(line, _)| format!("{mark}{line}")));
            lines.push(format!("{mark}{}", place.line));
        }
        lines.into_iter().map(|line| line + "\n").collect::<String>() + &self.tables.text()
    }
    /// Tables whose rows must be read from a snapshot before all rules can be judged.
    pub fn unfilled(&self) -> impl Iterator<Item = &TablePlan> {
        self.places.values().filter(|place| !place.filled).map(|place| &place.plan)
    }
    /// Is there nothing to fill and nothing to forget?
    pub fn is_settled(&self) -> bool {
        self.obsolete.is_empty() && self.unfilled().next().is_none()
    }
    /// What the store remembers of a row.
    pub fn read(
        &self,
        checkpoint: &Checkpoint,
        table: &str,
        key: &[u8],
    ) -> Result<Option<Bytes>, KeepingError> {
        let Some(place) = self.places.get(table) else { return Ok(None) };
        if let Some(row) = checkpoint.shadow(&place.line, key)? {
            return Ok(Some(row));
        }
        for (line, columns) in &place.previous {
            if let Some(row) = checkpoint.shadow(line, key)? {
                return Ok(place.plan.translate(columns, &row));
            }
        }
        Ok(None)
    }
    /// A change as it is journaled.
    pub fn records(&self, change: ShadowChange) -> Vec<Record> {
        let (ShadowChange::Put { table, .. }
        | ShadowChange::Forget { table, .. }
        | ShadowChange::Clear { table }) = &change;
        let Some(place) = self.places.get(table) else { return Vec::new() };
        match change {
            ShadowChange::Put { table, key, columns } => self.put(&table, &key, columns),
            ShadowChange::Forget { key, .. } => place
                .lines()
                .map(|line| Record::Shadow { table: line.clone(), key: key.clone(), columns: None })
                .collect(),
            ShadowChange::Clear { .. } => {
                place.lines().map(|line| Record::ShadowClear { table: line.clone() }).collect()
            }
        }
    }
    /// A row under its table's line, and under no other.
    pub fn put(&self, table: &str, key: &Bytes, columns: Bytes) -> Vec<Record> {
        let Some(place) = self.places.get(table) else { return Vec::new() };
        let left = place.previous.iter().map(|(line, _)| (line, None));
        let records = left.chain([(&place.line, Some(columns))]);
        let record = |(line, columns): (&Arc<str>, _)| Record::Shadow {
            table: line.clone(),
            key: key.clone(),
            columns,
        };
        records.map(record).collect()
    }
    /// What nothing refers to any more is forgotten before a fill begins: from here on nobody follows it, and a mapping that
    /// comes back must not take it for whole.
    pub fn abandon(&mut self) -> Vec<Record> {
        self.obsolete.drain(..).map(|table| Record::ShadowClear { table }).collect()
    }
    /// The fill is complete: what is to be forgotten, for the frame that says so.
    pub fn complete(&mut self) -> Vec<Record> {
        let mut gone = std::mem::take(&mut self.obsolete);
        for place in self.places.values_mut() {
            gone.extend(place.previous.drain(..).map(|(line, _)| line));
            place.filled = true;
        }
        gone.into_iter().map(|table| Record::ShadowClear { table }).collect()
    }

    /// The line that a table's rows are put under while it is filled anew.
    pub fn next_line(&self, table: &str) -> Option<Arc<str>> {
        let place = self.places.get(table)?;
        Some(Arc::from(place.plan.line(self.tables.generation(table) + 1)))
    }
    /// Rows of a table that is filled anew.
    pub fn refill(&self, rows: Vec<FillRow>) -> Vec<Record> {
        let record = |row| match row {
            FillRow::Shadow(table, key, columns) => {
                let line = self.next_line(&table)?;
                Some(Record::Shadow { table: line, key, columns: Some(columns) })
            }
            // followed all along
            FillRow::Subscription(_) => None,
        };
        rows.into_iter().filter_map(record).collect()
    }
    /// Of a table that stands in a gap: the plan, if its rows are remembered.
    pub fn plan(&self, table: &str) -> Option<&TablePlan> {
        self.places.get(table).map(|place| &place.plan)
    }
    /// A table was filled anew: its gap ends, and what was remembered of it before is forgotten.
    pub fn refilled(&mut self, standing: &TableStanding, plan: &Plan, looked_at: Lsn) -> Vec<Record> {
        let next = self.next_line(&standing.table);
        self.tables.filled(standing, plan, looked_at);
        let Some((place, next)) = self.places.get_mut(&*standing.table).zip(next) else { return Vec::new() };
        let mut gone: Vec<_> = place.previous.drain(..).map(|(line, _)| line).collect();
        if !fault::planted("stale-shadow") {
            gone.push(std::mem::replace(&mut place.line, next));
        }
        gone.into_iter().map(|table| Record::ShadowClear { table }).collect()
    }
}

impl TablePlace {
    fn lines(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.line).chain(self.previous.iter().map(|(line, _)| line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(rules: &[(&str, &str)]) -> Mapping {
        let rules = rules.iter().enumerate().map(|(at, (table, column))| {
            let text = format!("name = 'a.b{at}'\ntable = 'public.{table}'\non = 'update'\nchanged = ['{column}']\ntenant = 't'");
            (at + 1, toml::from_str(&text).unwrap())
        });
        Mapping::compile(rules.collect()).unwrap()
    }

    #[test]
    fn a_plan_that_grew_is_filled_and_what_is_left_behind_is_forgotten() {
        let (old, new) = (mapping(&[("a", "x"), ("b", "x")]), mapping(&[("a", "x"), ("a", "y"), ("c", "x")]));
        assert!(Memory::new(&old, &old.plan().text()).is_settled());
        let mut memory = Memory::new(&new, &old.plan().text());
        let unfilled: Vec<_> = memory.unfilled().map(|table| table.name.clone()).collect();
        assert_eq!(unfilled, ["a", "c"]);
        let forget = ShadowChange::Forget { table: "public.a".into(), key: Bytes::from_static(b"k") };
        assert_eq!(memory.records(forget).len(), 2, "forgotten in the old place too");
        let mut complete = memory.clone();
        let gone = [memory.abandon(), memory.complete(), complete.complete()];
        let [first, last, both] = gone.map(|records| format!("{records:?}"));
        assert!(first.contains("public.b") && !first.contains("public.a"), "{first}");
        assert!(last.contains("public.a: ") && !last.contains("public.b"), "{last}");
        assert!(both.contains("public.a: ") && both.contains("public.b"), "{both}");
        assert!(memory.is_settled());
    }

    /// Between the two nobody followed b's rows: what is remembered of them is old.
    #[test]
    fn a_table_that_comes_back_before_the_fill_was_complete_is_filled_anew() {
        let (old, new) = (mapping(&[("a", "x"), ("b", "x")]), mapping(&[("a", "y")]));
        let mut memory = Memory::new(&new, &old.plan().text());
        assert_eq!(memory.abandon().len(), 1);
        let back = Memory::new(&old, &memory.text());
        assert_eq!(back.unfilled().map(|table| &*table.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_mapping_that_comes_back_before_the_fill_was_complete_is_filled_again() {
        let (old, new) = (mapping(&[("a", "x"), ("b", "x")]), mapping(&[("a", "y"), ("b", "x")]));
        let noted = Memory::new(&new, &old.plan().text()).text();
        let starts: Vec<_> = noted
            .lines()
            .filter(|line| !line.starts_with('@'))
            .map(|line| line.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(starts, ["+public.a", "+public.a", "public.b"], "{noted}");
        for back in [&old, &new] {
            let mut memory = Memory::new(back, &noted);
            assert_eq!(memory.unfilled().map(|table| &*table.name).collect::<Vec<_>>(), ["a"]);
            assert_eq!(
                memory.text().lines().filter(|line| !line.starts_with('@')).count(),
                3,
                "the same again: {}",
                memory.text()
            );
            let put = memory.put("public.a", &Bytes::from_static(b"k"), Bytes::from_static(b"v"));
            assert_eq!(put.len(), 2, "written here, gone there: {put:?}");
            assert_eq!(memory.complete().len(), 1);
            assert!(memory.is_settled() && Memory::new(back, &back.plan().text()).is_settled());
        }
    }
}
