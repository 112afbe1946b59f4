//! Purpose: when a delivery goes: lanes, order, retries, breaker, limits. Must not: depend on rows or sockets.
//!
//! `scheduler` is pure: it passes messages between `backlog`, `rounds` and `timers`; `run` is the thin loop around it, `attempt` one
//! attempt's course.
mod attempt;
pub mod backlog;
mod ledger;
pub mod message;
pub mod now;
pub mod retry;
mod roll;
pub mod rounds;
pub mod run;
pub mod scheduler;
pub mod status;
pub mod ticket;
mod timers;

pub use backlog::lane::Offered;
pub use backlog::refill::Want;
pub use message::GivenUp;
pub use now::Now;
pub use run::{DispatchParts, run};
pub use scheduler::{Done, Facts, Job, Scheduler};
pub use status::DispatchStatus;
pub use ticket::Ticket;
