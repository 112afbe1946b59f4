//! What is durable: a journal (the truth) and an index behind it (rebuildable). Knows no Postgres, no HTTP, no routing.
//!
//! A commit that has returned has been fdatasynced. Everything else here follows from that.
pub mod disk;
pub mod index;
pub mod outbox;
pub mod record;

pub use disk::{Disk, RealDisk};
pub use index::Index;
pub use outbox::{Filter, Page, Recovery, Settings, Store, StoreError, Vitals};
pub use record::{Batch, Idempotent, Identity, Record};
