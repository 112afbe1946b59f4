//! Where the shadow's rows lie in the store: each table's under the line of the plan that encoded them, so that a mapping
//! that remembers more can be filled beside what is known. Knows no rules.
//!
//! While a table is filled, each of its rows lies under one line only: a row that is written leaves the others. What was begun
//! is noted (`+` before the line), so that a mapping which comes back before the fill was complete is filled again
//! instead of being taken for whole.
use crate::domain::KeepingError;
use crate::mapping::ShadowChange;
use crate::mapping::rows::shadow::{Plan, TablePlan, parse_line};
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
}

impl Memory {
    /// The mapping's plan beside what is noted of the lines that rows lie under (`Identity::shadow_plan`).
    pub fn new(plan: &Plan, noted: &str) -> Self {
        let mut before: BTreeMap<String, Vec<OldLine>> = BTreeMap::new();
        for line in noted.lines().map(|line| line.trim_start_matches(BEGUN)) {
            if let Some((table, columns)) = parse_line(line) {
                before.entry(table).or_default().push((Arc::from(line), columns));
            }
        }
        let places = plan.tables().map(|table| {
            let line: Arc<str> = Arc::from(table.line());
            let mut previous = before.remove(&*table.table).unwrap_or_default();
            let whole = previous.len() == 1 && noted.lines().any(|noted| *noted == *line);
            previous.retain(|(old, _)| *old != line);
            (table.table.clone(), TablePlace { line, plan: table.clone(), previous, filled: whole })
        });
        let places = places.collect();
        Self { places, obsolete: before.into_values().flatten().map(|(line, _)| line).collect() }
    }
    /// What is to be noted before a fill begins.
    pub fn begun(&self) -> String {
        let mut lines = Vec::new();
        for place in self.places.values() {
            let mark = if place.filled { String::new() } else { BEGUN.to_string() };
            lines.extend(place.previous.iter().map(|(line, _)| format!("{mark}{line}")));
            lines.push(format!("{mark}{}", place.line));
        }
        lines.into_iter().map(|line| line + "\n").collect()
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
}

impl TablePlace {
    fn lines(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.line).chain(self.previous.iter().map(|(line, _)| line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn plan(rules: &[(&str, &str)]) -> Plan {
        let rules = rules.iter().enumerate().map(|(at, (table, column))| {
            let text = format!("name = 'a.b{at}'\ntable = 'public.{table}'\non = 'update'\nchanged = ['{column}']\ntenant = 't'");
            (at + 1, toml::from_str(&text).unwrap())
        });
        Mapping::compile(rules.collect()).unwrap().plan().clone()
    }

    #[test]
    fn a_plan_that_grew_is_filled_and_what_is_left_behind_is_forgotten() {
        let (old, new) = (plan(&[("a", "x"), ("b", "x")]), plan(&[("a", "x"), ("a", "y"), ("c", "x")]));
        assert!(Memory::new(&old, &old.text()).is_settled());
        let mut memory = Memory::new(&new, &old.text());
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
        let (old, new) = (plan(&[("a", "x"), ("b", "x")]), plan(&[("a", "y")]));
        let mut memory = Memory::new(&new, &old.text());
        assert_eq!(memory.abandon().len(), 1);
        let back = Memory::new(&old, &memory.begun());
        assert_eq!(back.unfilled().map(|table| &*table.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_mapping_that_comes_back_before_the_fill_was_complete_is_filled_again() {
        let (old, new) = (plan(&[("a", "x"), ("b", "x")]), plan(&[("a", "y"), ("b", "x")]));
        let noted = Memory::new(&new, &old.text()).begun();
        let starts: Vec<_> = noted.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(starts, ["+public.a", "+public.a", "public.b"], "{noted}");
        for back in [&old, &new] {
            let mut memory = Memory::new(back, &noted);
            assert_eq!(memory.unfilled().map(|table| &*table.name).collect::<Vec<_>>(), ["a"]);
            assert_eq!(memory.begun().lines().count(), 3, "the same again: {}", memory.begun());
            let put = memory.put("public.a", &Bytes::from_static(b"k"), Bytes::from_static(b"v"));
            assert_eq!(put.len(), 2, "written here, gone there: {put:?}");
            assert_eq!(memory.complete().len(), 1);
            assert!(memory.is_settled() && Memory::new(back, &back.text()).is_settled());
        }
    }
}
