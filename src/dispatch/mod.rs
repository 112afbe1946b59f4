//! When: lanes, order, retries, breaker, limits. Knows no rows and no sockets.
//!
//! `scheduler` (with `pick` and `settle`) is pure; `run` is the thin loop around it, `attempt` one attempt's course.
mod attempt;
pub mod breaker;
mod endpoint;
pub mod lane;
mod ledger;
pub mod limit;
pub mod now;
pub mod pick;
pub mod refill;
pub mod retry;
mod roll;
pub mod roster;
pub mod run;
pub mod scheduler;
pub mod settle;
pub mod status;
pub mod ticket;

pub use now::Now;
pub use pick::Job;
pub use refill::Want;
pub use roster::Facts;
pub use run::{Parts, run};
pub use scheduler::{GivenUp, Offered, Scheduler};
pub use settle::Done;
pub use status::Status;
pub use ticket::Ticket;
