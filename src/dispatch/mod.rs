//! Purpose: when a delivery goes: lanes, order, retries, breaker, limits. Must not: depend on rows or sockets.
//!
//! `scheduler` is pure: it passes messages between `backlog`, `rounds` and `timers`; `run` is the thin loop around it with `reads` of
//! the store, `attempt`s and the `ledger` as tasks.
mod attempt;
pub mod backlog;
mod ledger;
pub mod message;
pub mod now;
pub mod parcel;
mod parts;
mod reads;
pub mod retry;
mod roll;
pub mod rounds;
pub mod run;
pub mod scheduler;
pub mod status;
pub mod ticket;
mod timers;

pub use backlog::refill::{BegunRead, Offered, Want};
pub use message::GivenUp;
pub use now::Now;
pub use parcel::ParcelMember;
pub use parts::DispatchParts;
pub use run::run;
pub use scheduler::{Done, Facts, Job, Scheduler};
pub use status::DispatchStatus;
pub use ticket::Ticket;
