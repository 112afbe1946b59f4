//! When: lanes, order, retries, breaker, limits. Knows no rows and no sockets.
//!
//! `scheduler` (with `pick` and `settle`) is pure; `run` is the thin loop around it, `attempt` one attempt's course.
pub mod breaker;
mod endpoint;
pub mod lane;
pub mod limit;
pub mod pick;
pub mod refill;
pub mod retry;
pub mod roster;
pub mod scheduler;
pub mod settings;
pub mod settle;

pub use lane::Ticket;
pub use pick::Job;
pub use refill::Want;
pub use roster::Facts;
pub use scheduler::{GivenUp, Offered, Scheduler};
pub use settings::{Backoff, BreakerSettings, Now, PerEndpoint, Settings};
pub use settle::Done;
