//! Purpose: what a data folder holds, read without a store: verify, salvage. Must not: change a folder, but for salvage's new one.
pub(in crate::store) mod audit;
pub(in crate::store) mod dissect;
pub mod rebuild;
pub mod salvage;
pub mod verify;
