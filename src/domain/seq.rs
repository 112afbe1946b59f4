//! Purpose: a place in a lane: where a delivery stands among those of its subscription. Must not: tell what a log is made of.
use std::fmt;

/// Opaque and ordered: a smaller one is attempted first. Of captured events the order is that of their commits. Only the store that gave
/// it reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64, u32);

impl Seq {
    /// Behind every other one.
    pub const LAST: Self = Self(u64::MAX, u32::MAX);

    /// For the store, and for whoever stands in for one.
    pub const fn new(major: u64, minor: u32) -> Self {
        Self(major, minor)
    }
    /// What it was made of.
    pub const fn parts(self) -> (u64, u32) {
        (self.0, self.1)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
