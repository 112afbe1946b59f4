//! Where the shadow's rows lie in the store: each table's under the line of the plan that encoded them, so that a mapping
//! that remembers more can be filled beside what is known. Knows no rules.
use crate::mapping::ShadowChange;
use crate::mapping::shadow::{Plan, TablePlan, parse_line};
use crate::store::{Record, Store, StoreError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone)]
struct Place {
    line: Arc<str>,
    plan: TablePlan,
    /// Until the fill is complete: the line and the columns of the plan before.
    previous: Option<(Arc<str>, Vec<Arc<str>>)>,
    filled: bool,
}

/// The places of all remembered tables.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    places: BTreeMap<Arc<str>, Place>,
    /// Lines that nothing refers to any more.
    obsolete: Vec<Arc<str>>,
}

impl Memory {
    /// The mapping's plan beside the one whose fill is complete (`Identity::shadow_plan`).
    pub fn new(plan: &Plan, filled: &str) -> Self {
        let mut before: BTreeMap<String, (Arc<str>, Vec<Arc<str>>)> = BTreeMap::new();
        for line in filled.lines() {
            if let Some((table, columns)) = parse_line(line) {
                before.insert(table, (Arc::from(line), columns));
            }
        }
        let places = plan.tables().map(|table| {
            let line: Arc<str> = Arc::from(table.line());
            let previous = before.remove(&*table.table);
            let filled = previous.as_ref().is_some_and(|(old, _)| *old == line);
            let place = Place { line, plan: table.clone(), previous: previous.filter(|_| !filled), filled };
            (table.table.clone(), place)
        });
        let places = places.collect();
        Self { places, obsolete: before.into_values().map(|(line, _)| line).collect() }
    }
    /// Tables whose rows must be read from a snapshot before all rules can be judged.
    pub fn unfilled(&self) -> impl Iterator<Item = &TablePlan> {
        self.places.values().filter(|place| !place.filled).map(|place| &place.plan)
    }
    /// Is there nothing to fill and nothing to forget?
    pub fn is_settled(&self) -> bool {
        self.obsolete.is_empty() && self.unfilled().next().is_none()
    }
    /// Where a table's rows are written now.
    pub fn line(&self, table: &str) -> Option<&Arc<str>> {
        self.places.get(table).map(|place| &place.line)
    }
    /// What the store remembers of a row.
    pub fn read(&self, store: &Store, table: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = self.places.get(table) else { return Ok(None) };
        if let Some(row) = store.shadow(&place.line, key)? {
            return Ok(Some(row));
        }
        let Some((line, columns)) = &place.previous else { return Ok(None) };
        Ok(store.shadow(line, key)?.and_then(|row| place.plan.translate(columns, &row)))
    }
    /// A change as it is journaled.
    pub fn records(&self, change: ShadowChange) -> Vec<Record> {
        let (ShadowChange::Put { table, .. }
        | ShadowChange::Forget { table, .. }
        | ShadowChange::Clear { table }) = &change;
        let Some(place) = self.places.get(table) else { return Vec::new() };
        let lines = std::iter::once(&place.line).chain(place.previous.iter().map(|(line, _)| line));
        match change {
            ShadowChange::Put { key, columns, .. } => {
                vec![Record::Shadow { table: place.line.clone(), key, columns: Some(columns) }]
            }
            ShadowChange::Forget { key, .. } => lines
                .map(|line| Record::Shadow { table: line.clone(), key: key.clone(), columns: None })
                .collect(),
            ShadowChange::Clear { .. } => {
                lines.map(|line| Record::ShadowClear { table: line.clone() }).collect()
            }
        }
    }
    /// The fill is complete: what is to be forgotten, for the frame that says so.
    pub fn complete(&mut self) -> Vec<Record> {
        let mut gone = std::mem::take(&mut self.obsolete);
        for place in self.places.values_mut() {
            gone.extend(place.previous.take().map(|(line, _)| line));
            place.filled = true;
        }
        gone.into_iter().map(|table| Record::ShadowClear { table }).collect()
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
        let cleared: Vec<_> = memory.complete().into_iter().map(|r| format!("{r:?}")).collect();
        assert!(
            cleared.len() == 2 && cleared[0].contains("public.b") && cleared[1].contains("public.a: "),
            "{cleared:?}"
        );
        assert!(memory.is_settled());
    }
}
