//! Purpose: what a frame says, and its bytes. Must not: read a file.
pub(in crate::store) mod codec;
pub(in crate::store) mod entry;
pub(in crate::store) mod field;
pub(in crate::store) mod format;
pub mod record;
