//! Purpose: what one owner of the scheduler says that concerns another, pure. Must not: say who reads it.
use crate::dispatch::ticket::{EndpointId, Ticket};
use crate::dispatch::timers::Timer;
use crate::domain::DeliveryKey;

/// A delivery that may go, in its endpoint's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct ReadyTicket {
    pub(in crate::dispatch) ticket: Ticket,
    /// Since when, a steady millisecond.
    pub(in crate::dispatch) due: i64,
    /// It was attempted before.
    pub(in crate::dispatch) retry: bool,
}

/// A delivery that is given up without an attempt: make it durable, then call `settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Which.
    pub ticket: Ticket,
    /// Its key in the store.
    pub key: DeliveryKey,
    /// One line for people.
    pub reason: &'static str,
}

/// One message. They are passed on in order, at the end of each step.
#[derive(Debug)]
pub(in crate::dispatch) enum Message {
    /// A delivery may go to this endpoint.
    Ready(EndpointId, ReadyTicket),
    /// It may not any more, and was not taken.
    Unready(EndpointId, ReadyTicket),
    /// Wake me then.
    Set(i64, Timer),
    /// No need.
    Cancel(i64, Timer),
    /// A decision to make durable.
    GiveUp(GivenUp),
}
