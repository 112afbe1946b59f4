//! Purpose: the ordinary SQL that the source needs beside its own protocol; `app` lends it. Must not: speak it.
use crate::capture::source::{BoxFuture, CatalogLook, FillRows, SourceError};
use crate::domain::Table;
use crate::mapping::rows::shadow::TablePlan;
use std::sync::Arc;

/// The catalog's answer for a relation's object id; `None`: it is gone.
pub type Describe = Arc<dyn Fn(u32) -> BoxFuture<'static, Result<Option<Table>, SourceError>> + Send + Sync>;
/// Opens an exported snapshot by its name, to read the subscriptions and the rows of these tables.
pub type OpenSnapshot = Arc<
    dyn Fn(String, Vec<TablePlan>) -> BoxFuture<'static, Result<Box<dyn FillRows>, SourceError>>
        + Send
        + Sync,
>;
/// How the mapped tables stand.
pub type LookAtTables = Arc<dyn Fn() -> BoxFuture<'static, Result<CatalogLook, SourceError>> + Send + Sync>;
/// A statement: makes the publications right, as far as the role may; or writes a transaction that the stream shows.
pub type Statement = Arc<dyn Fn() -> BoxFuture<'static, Result<(), SourceError>> + Send + Sync>;

/// Ordinary SQL that the source needs; `app` lends it.
#[derive(Clone)]
pub struct Lookups {
    /// The catalog's description of a relation.
    pub describe: Describe,
    /// The rows of an exported snapshot.
    pub open_snapshot: OpenSnapshot,
    /// The mapped tables.
    pub look: LookAtTables,
    /// The publications.
    pub restore: Statement,
    /// A transaction that the stream shows, also where nothing else is written.
    pub heartbeat: Statement,
}
