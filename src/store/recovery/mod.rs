//! Purpose: from the files of a data folder to a store that runs. Must not: write what it cannot read.
pub(in crate::store) mod opening;
pub(in crate::store) mod replayed;
pub mod reseal;
pub(in crate::store) mod survey;
