//! How a request leaves, and whether it may. Knows one attempt at a time: no retries, no store, no subscriptions.
pub mod request;
pub mod transport;

pub use request::Request;
pub use transport::Transport;
