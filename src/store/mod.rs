//! What is durable: a journal (the truth) and an index behind it (rebuildable). Knows no Postgres, no HTTP, no routing.
//!
//! A commit that has returned has been fdatasynced. Everything else here follows from that.
//!
//! The way of a batch: `outbox` (the handle) → `codec` → `group` (one frame or several) → `commit` (group commit) → `journal` on a `disk` → `apply` (what it
//! means) → `overlay` (acknowledged, readable) → `flush` → `index` (tidied by `compaction`). `opening` recovers, `reading` answers, `upkeep` and
//! `checkpoint` keep the folder small. `verify` looks at a folder that nobody has open (`dissect`, `audit`), `salvage` mends it; `reseal` seals what
//! earlier versions left in the clear.
pub mod disk;
pub mod engine;
mod error;
pub mod index;
pub mod lsm;
pub mod memory;
mod observer;
pub mod outbox;
pub mod rebuild;
pub mod record;
pub mod reseal;
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
mod format;
mod frame;
mod gate;
mod group;
#[doc(hidden)]
#[cfg(feature = "hostile")]
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
mod walk;

pub use self::sled::SledIndex;
pub use commit::HUNG;
pub use disk::{Disk, RealDisk};
pub use engine::Engine;
pub use error::StoreError;
pub use index::{Index, IndexError, IndexFactory, Reset};
pub use lsm::LsmIndex;
pub use memory::MemoryIndex;
pub use observer::FlushObserver;
pub use opening::Recovery;
pub use outbox::{Filter, Page, Store, Vitals};
pub use rebuild::{Rebuilt, rebuild};
pub use record::{Batch, Idempotent, Identity, Record};
pub use reseal::{Reseal, mark_rebuild, reseal};
pub use salvage::{Salvaged, salvage};
pub use survey::check_formats;
pub use verify::{Report, verify};
