//! What is durable: a journal (the truth) and an index behind it (rebuildable). Knows no Postgres, no HTTP, no routing.
//!
//! A commit that has returned has been fdatasynced. Everything else here follows from that.
//!
//! The way of a batch: `handles` (one a role) → `records` (bytes) → `engine` (group commit) → `log` (segments on a disk) → `state` (what it
//! means) → `index` (behind the log, what is newer laid over it). `recovery` opens a folder, `inspect` looks at a folder
//! that nobody has open. Lower folders first: records, log and index, state, engine, recovery, handles, inspect; none imports one above it.
mod engine;
mod error;
pub mod handles;
pub mod index;
pub mod inspect;
pub mod log;
pub mod records;
pub mod recovery;

#[doc(hidden)]
#[cfg(feature = "hostile")]
pub mod hostile;
mod state;

pub use engine::commit::HUNG;
pub use engine::observer::FlushObserver;
pub use engine::reading::{Filter, FoundDelivery, Page};
pub use error::StoreError;
pub use handles::answers::Answers;
pub use handles::checkpoint::Checkpoint;
pub use handles::history::History;
pub use handles::lease::OwnerLease;
pub use handles::outbox::Outbox;
pub use handles::store::{Store, Vitals};
pub use index::engine::Engine;
pub use index::lsm::LsmIndex;
pub use index::memory::MemoryIndex;
pub use index::sled::SledIndex;
pub use index::{Index, IndexError, IndexFactory, Reset};
pub use inspect::rebuild::{Rebuilt, rebuild};
pub use inspect::salvage::{Salvaged, salvage};
pub use inspect::verify::{Report, verify};
pub use records::record::{Batch, Idempotent, Identity, Record};
pub use recovery::opening::Recovery;
pub use recovery::reseal::{Reseal, mark_rebuild, reseal};
pub use recovery::survey::check_formats;
pub use state::StoreScope;
