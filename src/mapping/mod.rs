//! Rows → events, pure. Knows no Postgres connection, no store, no clock.
//!
//! `rules` compiles the `[[event]]` entries; `derive` applies them to one transaction.

mod body;
mod derive;
#[doc(hidden)]
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod rows;
pub mod rules;
mod when;

#[cfg(test)]
mod tests;

pub use body::envelope::Envelope;
pub use rows::shadow::{Plan, TablePlan};
pub use rules::{EventSpec, RuleProblem};

use crate::domain::{Change, Event, EventName, Lsn, Table, TenantId, Transaction};
use bytes::Bytes;
use rules::Rule;
use std::collections::HashMap;
use std::sync::Arc;

/// What `derive` needs beside rules and transaction.
#[derive(Debug, Clone)]
pub struct Context {
    /// Part of every id.
    pub system_id: String,
    /// `metadata.source`.
    pub source: String,
    /// `delivery.max_payload`: a larger body is a fault.
    pub max_payload: usize,
    /// Where `error.occurred` goes.
    pub operations: TenantId,
}

/// How the shadow changes with a transaction, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowChange {
    /// Remember these columns of a row.
    Put {
        /// `schema.table`
        table: Arc<str>,
        /// Encoded primary key.
        key: Bytes,
        /// Encoded tracked columns.
        columns: Bytes,
    },
    /// The row is gone.
    Forget {
        /// `schema.table`
        table: Arc<str>,
        /// Encoded primary key.
        key: Bytes,
    },
    /// The table was truncated.
    Clear {
        /// `schema.table`
        table: Arc<str>,
    },
}

/// A match that gave no event: metric and log line, with the row's key and never its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The rule's own name.
    pub rule: Arc<str>,
    /// `tenant` (NULL), `unknown-old` (hangs on a value that nobody knows), `condition`, `payload`, `size`. The last three
    /// also give an `error.occurred`.
    pub reason: &'static str,
    /// Table and key, and what went wrong.
    pub detail: String,
}

/// What a transaction comes to.
#[derive(Debug, Clone, Default)]
pub struct Derived {
    /// In commit order (`sequence.number` counts from 0), `error.occurred` of faults included.
    pub events: Vec<Event>,
    /// For the same frame as the events.
    pub shadow: Vec<ShadowChange>,
    /// For metric and log.
    pub faults: Vec<Fault>,
    /// Old tuples that were sent and said something else than the shadow.
    pub disagreements: u32,
}

/// What the shadow remembers of (table, key). An error is the caller's own and ends the derivation: nothing of the mapping fails so.
pub type Remembered<'a, E> = &'a (dyn Fn(&str, &[u8]) -> Result<Option<Bytes>, E> + Sync);

/// What a mapping needs of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNeeds {
    /// `schema.table`
    pub table: Arc<str>,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns that its rules name, sorted.
    pub columns: Vec<Arc<str>>,
    /// All its rules are optional: if it is missing they are parked.
    pub optional: bool,
    /// Its rows are remembered: SELECT on it is needed.
    pub shadow: bool,
    /// No rule of it reads anything but inserts.
    pub insert_only: bool,
}

#[derive(Debug, Default)]
struct Compiled {
    rules: Vec<Rule>,
    /// Numbers of the rules of a table, in the file's order.
    by_table: HashMap<Arc<str>, Vec<usize>>,
    plan: Plan,
    /// `error.occurred`; `None` only in the empty mapping, which has no rule that could fail.
    error_event: Option<EventName>,
}

/// The compiled rules. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    compiled: Arc<Compiled>,
}

impl Mapping {
    /// Compiles the `[[event]]` entries, each with its line in the file; on failure says all that is wrong.
    pub fn compile(specs: Vec<(usize, EventSpec)>) -> Result<Self, Vec<RuleProblem>> {
        let rules = rules::compile::compile(specs)?;
        let mut by_table: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            by_table.entry(Arc::clone(&rule.table)).or_default().push(number);
        }
        let plan = Plan::of(&rules);
        let error_event = EventName::parse("error.occurred").ok();
        Ok(Self { compiled: Arc::new(Compiled { rules, by_table, plan, error_event }) })
    }
    /// Each mapped table with what is needed of it, sorted by name.
    pub fn tables(&self) -> Vec<TableNeeds> {
        rules::check::tables(&self.compiled)
    }
    /// What does not fit the database's tables. `find` gives a table by `schema.table`; a table that it does not give is
    /// missing, which is a problem unless the rule is optional.
    pub fn check<'t>(&self, find: &dyn Fn(&str) -> Option<&'t Table>) -> Vec<RuleProblem> {
        rules::check::check(&self.compiled, find)
    }
    /// What the shadow remembers; its text is `Identity::shadow_plan`.
    pub fn plan(&self) -> &Plan {
        &self.compiled.plan
    }
    /// The names that the rules give, sorted, no repeats (without `error.occurred`).
    pub fn event_names(&self) -> Vec<EventName> {
        let mut names: Vec<EventName> = self.compiled.rules.iter().map(|rule| rule.event.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
    /// Is this table mapped? Changes of others need not be decoded.
    pub fn maps(&self, table: &str) -> bool {
        self.compiled.by_table.contains_key(table)
    }
    /// Applies the rules to one transaction. A pure function of its arguments; the error is the shadow's.
    pub fn derive<E>(
        &self,
        transaction: &Transaction,
        context: &Context,
        remembered: Remembered<'_, E>,
    ) -> Result<Derived, E> {
        derive::derive(&self.compiled, transaction, context, remembered)
    }
    /// `error.occurred`: changes of a table that commit at `from` or later have no events (SPEC 5.7). `None` only for the empty mapping.
    pub fn table_gap(&self, context: &Context, gap: (&str, Lsn, &str), now_us: i64) -> Option<Event> {
        let name = self.compiled.error_event.as_ref()?;
        Some(body::emit::table_gap(context, name, gap, now_us))
    }
    /// What the shadow is to remember of these changes, which give no event and of whose rows nothing is known from before.
    pub fn remember(&self, changes: &[Change]) -> Vec<ShadowChange> {
        derive::remember(&self.compiled, changes)
    }
}
