//! Tests of the whole mapping: rows in, events out. `World` plays capture and store: it remembers what the shadow is told.
mod conditions;
mod edges;
mod expressions;
mod following;
mod identity;
mod loading;
mod old_values;
mod pack;
mod wire;

use crate::domain::{
    Cell, Change, Column, Event, Image, Lsn, Operation, ReplicaIdentity, Table, TenantId, Transaction,
    TypeKind,
};
use crate::mapping::{Context, Derived, EventSpec, Mapping, RuleProblem, ShadowChange};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

/// The same cases in every run: a failure here is never chance.
pub(in crate::mapping) fn steady() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_260_214),
        failure_persistence: None,
        ..Default::default()
    }
}

/// A file of `[[event]]` entries; the line is the number of the entry.
pub(in crate::mapping) fn compile(text: &str) -> Result<Mapping, Vec<RuleProblem>> {
    #[derive(Deserialize)]
    struct File {
        event: Vec<EventSpec>,
    }
    let file: File = toml::from_str(text).unwrap();
    Mapping::compile(file.event.into_iter().enumerate().map(|(at, spec)| (at + 1, spec)).collect())
}

/// A table from `name:type` words, a `*` before those of the primary key.
pub(in crate::mapping) fn table(name: &str, columns: &str) -> Arc<Table> {
    let (schema, name) = name.split_once('.').unwrap();
    let mut primary_key = Vec::new();
    let columns = columns.split_whitespace().enumerate().map(|(at, word)| {
        let (column, kind) = word.split_once(':').unwrap_or((word, "text"));
        if column.starts_with('*') {
            primary_key.push(at);
        }
        let kind = match kind {
            "bool" => TypeKind::Bool,
            "int" => TypeKind::Integer,
            "numeric" => TypeKind::Numeric,
            "float" => TypeKind::Float,
            "json" => TypeKind::Json,
            _ => TypeKind::Text,
        };
        let type_name = format!("{kind:?}").to_lowercase();
        Column { name: column.trim_start_matches('*').into(), kind, type_oid: 0, type_name, not_null: false }
    });
    let columns = columns.collect();
    let (schema, name) = (schema.to_owned(), name.to_owned());
    let replica_identity = ReplicaIdentity::Default;
    Arc::new(Table { oid: 1, schema, name, columns, primary_key, replica_identity })
}

/// Cells from JSON texts split by `|`; `~` is "not sent".
pub(in crate::mapping) fn row(text: &str) -> Image {
    let cell = |json: &str| match json.trim() {
        "null" => Cell::Null,
        "~" => Cell::NotSent,
        json => Cell::Json(Bytes::copy_from_slice(json.as_bytes())),
    };
    text.split('|').map(cell).collect()
}

pub(in crate::mapping) fn insert(table: &Arc<Table>, new: &str) -> Change {
    Change { op: Operation::Insert, table: Arc::clone(table), old: None, new: Some(row(new)) }
}
pub(in crate::mapping) fn update(table: &Arc<Table>, new: &str) -> Change {
    Change { op: Operation::Update, table: Arc::clone(table), old: None, new: Some(row(new)) }
}
pub(in crate::mapping) fn update_from(table: &Arc<Table>, old: &str, new: &str) -> Change {
    Change { op: Operation::Update, table: Arc::clone(table), old: Some(row(old)), new: Some(row(new)) }
}
pub(in crate::mapping) fn delete(table: &Arc<Table>, old: &str) -> Change {
    Change { op: Operation::Delete, table: Arc::clone(table), old: Some(row(old)), new: None }
}
pub(in crate::mapping) fn truncate(table: &Arc<Table>) -> Change {
    Change { op: Operation::Truncate, table: Arc::clone(table), old: None, new: None }
}

/// A mapping with its memory and a clock that counts transactions.
pub(in crate::mapping) struct World {
    pub(in crate::mapping) mapping: Mapping,
    pub(in crate::mapping) context: Context,
    pub(in crate::mapping) shadow: HashMap<(String, Bytes), Bytes>,
    pub(in crate::mapping) commits: u32,
}

impl World {
    pub(in crate::mapping) fn new(rules: &str) -> Self {
        Self {
            mapping: compile(rules).unwrap(),
            context: Context {
                system_id: "7300000000000000001".into(),
                source: "gestiqcloud".into(),
                max_payload: 256 * 1024,
                operations: TenantId::new("operations"),
            },
            shadow: HashMap::new(),
            commits: 0,
        }
    }
    pub(in crate::mapping) fn transaction(&self, changes: Vec<Change>) -> Transaction {
        let at = u64::from(self.commits) * 100;
        Transaction {
            xid: 700 + self.commits,
            commit_lsn: Lsn(0x1000 + at),
            end_lsn: Lsn(0x1030 + at),
            commit_us: 1_771_065_000_123_456 + i64::from(self.commits),
            changes,
        }
    }
    /// Derives without remembering.
    pub(in crate::mapping) fn look(&self, transaction: &Transaction) -> Derived {
        let remembered = |table: &str, key: &[u8]| {
            Ok::<_, Infallible>(self.shadow.get(&(table.to_owned(), Bytes::copy_from_slice(key))).cloned())
        };
        self.mapping.derive(transaction, &self.context, &remembered).unwrap()
    }
    /// Commits a transaction: derives and remembers.
    pub(in crate::mapping) fn commit(&mut self, changes: Vec<Change>) -> Derived {
        self.commits += 1;
        let derived = self.look(&self.transaction(changes));
        for change in &derived.shadow {
            match change.clone() {
                ShadowChange::Put { table, key, columns } => {
                    self.shadow.insert((table.to_string(), key), columns);
                }
                ShadowChange::Forget { table, key } => {
                    self.shadow.remove(&(table.to_string(), key));
                }
                ShadowChange::Clear { table } => self.shadow.retain(|(name, _), _| **name != *table),
            }
        }
        derived
    }
    /// The same, and what came: `name data` for events, `!rule reason` for faults.
    pub(in crate::mapping) fn told(&mut self, changes: Vec<Change>) -> Vec<String> {
        told(&self.commit(changes))
    }
}

pub(in crate::mapping) fn told(derived: &Derived) -> Vec<String> {
    let events = derived.events.iter().map(|event| format!("{} {}", event.name, body(event)["data"]));
    let faults = derived.faults.iter().map(|fault| format!("!{} {}", fault.rule, fault.reason));
    events.chain(faults).collect()
}

pub(in crate::mapping) fn body(event: &Event) -> serde_json::Value {
    serde_json::from_slice(&event.body).unwrap()
}
