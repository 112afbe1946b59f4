//! Purpose: a delivery in a parcel, as the scheduler has it, pure. Must not: say who composes parcels.
use crate::dispatch::ticket::Ticket;
use crate::domain::Pending;

/// One delivery of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParcelMember {
    /// Which.
    pub ticket: Ticket,
    /// What it is.
    pub pending: Pending,
    /// Since when it could go, a steady millisecond.
    pub(in crate::dispatch) due: i64,
}
