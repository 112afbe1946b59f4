//! When: lanes, order, retries, breaker, limits. Knows no rows and no sockets.
//!
//! `scheduler` (with `pick` and `settle`) is pure; `run` is the thin loop around it, `attempt` one attempt's course.
mod attempt;
pub mod backlog;
mod ledger;
pub mod now;
pub mod retry;
mod roll;
pub mod rounds;
pub mod run;
pub mod scheduler;
pub mod settle;
pub mod status;
pub mod ticket;

pub use backlog::refill::Want;
pub use now::Now;
pub use rounds::pick::Job;
pub use rounds::roster::Facts;
pub use run::{DispatchParts, run};
pub use scheduler::{GivenUp, Offered, Scheduler};
pub use settle::Done;
pub use status::DispatchStatus;
pub use ticket::Ticket;
