//! Purpose: frames in order, durable when written: segments on a disk. Must not: depend on what a frame says.
pub(in crate::store) mod frame;
pub(in crate::store) mod group;
pub(in crate::store) mod journal;
pub(in crate::store) mod segment;
pub(in crate::store) mod walk;
