//! Rows → events, pure. Knows no Postgres connection, no store, no clock.
//!
//! `rules` compiles the `[[event]]` entries; `derive` applies them to one transaction.

use crate::domain::{Event, TenantId, Transaction};
use bytes::Bytes;
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
    /// `tenant`, `condition`, `payload`, `size`.
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
}

/// What the shadow remembers of (table, key); an error ends the derivation and is tried again.
pub type Remembered<'a> = &'a (dyn Fn(&str, &[u8]) -> Result<Option<Bytes>, String> + Sync);

/// The compiled rules.
#[derive(Debug, Clone, Default)]
pub struct Mapping {}

impl Mapping {
    /// Applies the rules to one transaction.
    pub fn derive(
        &self,
        _transaction: &Transaction,
        _context: &Context,
        _remembered: Remembered<'_>,
    ) -> Result<Derived, String> {
        unimplemented!()
    }
}
