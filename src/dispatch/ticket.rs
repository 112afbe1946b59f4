//! Names of deliveries in the scheduler. Pure.
use crate::domain::SubscriptionId;

/// Place in a lane: journal frame and number in it.
pub type Seq = (u64, u32);

/// Names a delivery in the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Its lane.
    pub lane: SubscriptionId,
    /// Its place there.
    pub seq: Seq,
}
