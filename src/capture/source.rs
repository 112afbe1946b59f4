//! A replication slot, seen from the sidecar. A seam: `replication::PostgresSource` is the real one, `tests/sim` has a
//! simulated one that speaks the same bytes. Knows no rules and no store.
use crate::domain::{Lsn, Subscription, Table};
use crate::mapping::rows::shadow::TablePlan;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;

/// What the walsender sends inside `CopyBoth`
/// (<https://www.postgresql.org/docs/15/protocol-replication.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `w`, `XLogData`: one pgoutput message.
    Wal {
        /// Start of the data.
        start: Lsn,
        /// The server's end of WAL.
        end: Lsn,
        /// The pgoutput message.
        data: Bytes,
    },
    /// `k` keepalive.
    Keepalive {
        /// The server's end of WAL.
        end: Lsn,
        /// An answer is wanted at once.
        reply: bool,
    },
}

/// What stands on the server before we stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// `IDENTIFY_SYSTEM`.
    pub system_id: String,
    /// Current timeline.
    pub timeline: u32,
    /// The server's end of WAL.
    pub wal_end: Lsn,
    /// Database connected to.
    pub database: String,
    /// The slot of our name, if there is one.
    pub slot: Option<SlotState>,
    /// Where each earlier timeline ended (from `TIMELINE_HISTORY`), oldest first.
    pub history: Vec<(u32, Lsn)>,
    /// Why the last stream of this slot could not be read on, if it could not: no other will be.
    pub unreadable: Option<String>,
}

/// One row of `pg_replication_slots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// `pgoutput`, unless somebody else's.
    pub plugin: String,
    /// Its database.
    pub database: String,
    /// What we (or somebody) confirmed.
    pub confirmed: Lsn,
    /// `None`: the slot has lost its WAL.
    pub restart: Option<Lsn>,
    /// `wal_status`: reserved, extended, unreserved, lost.
    pub wal_status: String,
    /// The process that streams from it now.
    pub active_pid: Option<i32>,
}

/// How the mapped tables stand on the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogLook {
    /// The server's end of WAL before it was looked: what changed since is in the WAL behind it.
    pub at: Lsn,
    /// Those that exist.
    pub tables: Vec<TableStanding>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStanding {
    /// `schema.table`, as the mapping names it.
    pub table: String,
    /// Its object id, columns with their types, and primary key; how values are rendered is not looked up.
    pub described: Table,
    /// By which rows of the catalog it is published: another text means that it was out of a publication, or that the options were others.
    /// Empty: it is not published.
    pub membership: String,
}

/// A snapshot of tables that are filled anew while the stream goes on.
pub struct Refill {
    /// The snapshot's consistent point: it holds what committed before, whole.
    pub at: Lsn,
    /// How the tables stood before it was taken.
    pub look: CatalogLook,
    /// Their remembered rows.
    pub rows: Box<dyn FillRows>,
}

/// The rows of one snapshot.
pub trait FillRows: Send {
    /// The next rows; empty: complete.
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>>;
}

/// A future that can be lent.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What may be told to the server: nothing here is ever beyond what is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Received (and clamped to what was received).
    pub written: Lsn,
    /// Durable in the journal, with its position.
    pub flushed: Lsn,
}

/// A row of the first snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillRow {
    /// A subscription, its secret sealed. Boxed: it is large and rare.
    Subscription(Box<Subscription>),
    /// What the shadow shall remember of a row: table, encoded key, encoded columns.
    Shadow(std::sync::Arc<str>, Bytes, Bytes),
}

/// What went wrong with the stream.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// Worth another connection soon: 57P0x, 08xxx, 53300, 55006, IO.
    #[error("{0}")]
    Retry(String),
    /// Worth another connection slowly: 28xxx, a missing database.
    #[error("{0}")]
    RetrySlowly(String),
    /// The server cannot give what follows our position (SPEC 5.7).
    #[error("{0}")]
    Gap(String),
    /// An operator is needed: privileges, `wal_level`, a version. Says the remedy.
    #[error("{0}")]
    Operator(String),
    /// Bytes that are no protocol or no pgoutput, with the LSN. The stream stops.
    #[error("{0}")]
    Malformed(String),
}

/// One slot on one server. `next` is cancel-safe.
pub trait Source: Send + 'static {
    /// Connects (anew, if connected) and looks at the server and at our slot.
    fn survey(&mut self) -> impl Future<Output = Result<Survey, SourceError>> + Send;
    /// Makes the slot; returns its consistent point. `fill` then gives the subscriptions and the rows of these tables as
    /// of that point, until the next call but `fill`.
    fn create_slot(&mut self, tables: &[TablePlan]) -> impl Future<Output = Result<Lsn, SourceError>> + Send;
    /// A consistent point of now, for memory that a changed mapping adds: `fill` then gives the rows of these tables as of
    /// that point, also while the stream runs, until the next call but `fill`, `start` and those of the stream.
    fn snapshot(&mut self, tables: &[TablePlan]) -> impl Future<Output = Result<Lsn, SourceError>> + Send;
    /// Drops our slot: only after an interrupted first snapshot, when nothing was ever followed.
    fn drop_slot(&mut self) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// The next rows of the slot's snapshot; empty: complete.
    fn fill(&mut self) -> impl Future<Output = Result<Vec<FillRow>, SourceError>> + Send;
    /// Starts streaming from a position.
    fn start(&mut self, from: Lsn) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// The next frame. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Frame, SourceError>> + Send;
    /// Standby status update, sent at once.
    fn feedback(&mut self, feedback: Feedback) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// How the mapped tables stand. On a connection of its own: the stream goes on.
    fn look(&self) -> BoxFuture<'static, Result<CatalogLook, SourceError>>;
    /// Puts the mapped tables back into the publications, as far as the role may, and takes a snapshot of these. On connections of its own: the
    /// stream goes on. It waits for the transactions that are open now.
    fn refill(&self, tables: Vec<TablePlan>) -> BoxFuture<'static, Result<Refill, SourceError>>;
    /// The catalog's description of a relation (types, primary key).
    fn describe(&mut self, relation: u32) -> impl Future<Output = Result<Table, SourceError>> + Send;
    /// Ends the copy politely and closes the connection. Idempotent.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;
}
