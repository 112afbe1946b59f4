//! What is durable: a journal (the truth) and an index behind it (rebuildable). Knows no Postgres, no HTTP, no routing.
//!
//! A commit that has returned has been fdatasynced. Everything else here follows from that.
//!
//! The way of a batch: `outbox` (the handle) → `codec` → `commit` (group commit) → `journal` on a `disk` → `apply` (what it
//! means) → `overlay` (acknowledged, readable) → `flush` → `index` (tidied by `compaction`). `opening` recovers, `reading` answers, `upkeep` and
//! `checkpoint` keep the folder small. `verify` looks at a folder that nobody has open (`dissect`, `audit`), `salvage` mends it.
pub mod disk;
pub mod engine;
pub mod index;
pub mod lsm;
pub mod memory;
pub mod outbox;
pub mod rebuild;
pub mod record;
pub mod salvage;
pub mod sled;
pub mod verify;

mod apply;
mod audit;
mod checkpoint;
mod codec;
mod commit;
mod compaction;
mod core;
mod dissect;
mod entry;
mod feed;
mod field;
mod flush;
mod folder;
mod frame;
mod gate;
#[doc(hidden)]
pub mod hostile;
mod journal;
mod keys;
mod opening;
mod overlay;
mod reading;
mod segment;
mod state;
mod survey;
mod upkeep;

pub use self::sled::SledIndex;
pub use commit::HUNG;
pub use disk::{Disk, RealDisk};
pub use engine::Engine;
pub use index::{Index, IndexError, IndexFactory, Reset};
pub use lsm::LsmIndex;
pub use memory::MemoryIndex;
pub use outbox::{Filter, FlushObserver, Page, Recovery, Settings, Store, StoreError, Vitals};
pub use rebuild::{Rebuilt, rebuild};
pub use record::{Batch, Idempotent, Identity, Record};
pub use salvage::{Salvaged, salvage};
pub use verify::{Report, verify};
