//! Purpose: frames in order, durable when written: the seam (`port`), and segments on a disk behind it. Must not: depend on what a frame
//! says.
pub mod frame;
pub(in crate::store) mod group;
pub mod joined;
mod joined_reader;
pub(in crate::store) mod journal;
pub mod port;
mod reading;
pub(in crate::store) mod segment;
pub mod segments;
pub mod whole;
