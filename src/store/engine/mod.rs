//! Purpose: the loops that make batches durable, then visible, and the index and checkpoints behind them. Must not: depend on
//! a stage.
pub(in crate::store) mod catch_up;
pub(in crate::store) mod checkpoint;
pub(in crate::store) mod commit;
pub(in crate::store) mod compaction;
pub(in crate::store) mod core;
pub(in crate::store) mod feed;
pub(in crate::store) mod fetch;
pub(in crate::store) mod flush;
pub(in crate::store) mod gate;
pub(in crate::store) mod observer;
pub(in crate::store) mod queued;
pub(in crate::store) mod reading;
pub(in crate::store) mod upkeep;
pub(in crate::store) mod writing;
