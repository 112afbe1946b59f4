//! Purpose: names of deliveries and endpoints in the scheduler, pure. Must not: depend on what they name.
use crate::domain::{Seq, SubscriptionId, TenantId};

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

/// Where a lane leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dispatch) struct Lead {
    pub(in crate::dispatch) endpoint: EndpointId,
    pub(in crate::dispatch) tenant: TenantId,
}
