//! Purpose: names of deliveries and endpoints in the scheduler, pure. Must not: depend on what they name.
use crate::domain::SubscriptionId;

/// Place in a lane: journal frame and number in it.
pub type Seq = (u64, u32);

/// An endpoint's number in the scheduler.
pub(in crate::dispatch) type EndpointId = u64;

/// Names a delivery in the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Its lane.
    pub lane: SubscriptionId,
    /// Its place there.
    pub seq: Seq,
}
