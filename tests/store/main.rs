//! The durable store through its own interface: what it promises, against disks and indices that fail.
mod disk;
mod durable;
mod house;
mod index;
mod lists;
mod recovery;
mod retention;
