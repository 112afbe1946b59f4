//! Purpose: frames of the stream become committed transactions. Must not: hold a connection.
pub mod pgoutput;
pub mod relation;
pub mod transaction;
pub mod value;
