//! How a request leaves, and whether it may. Knows one attempt at a time: no retries, no store, no subscriptions.
pub mod answer;
pub mod guard;
pub mod proxy;
pub mod request;
pub mod resolve;
pub mod sign;
pub mod transport;
mod trust;

pub use guard::{Guard, refused};
pub use proxy::Proxy;
pub use request::Request;
pub use resolve::Resolver;
pub use sign::{Verified, VerifyError, verify};
pub use transport::Transport;

/// Why the way out cannot be opened at all. An operator is needed; none of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A file of `egress.ca_files` is missing or holds no certificate.
    #[error("egress.ca_files: {0}")]
    Trust(String),
    /// The trust anchors could not be handed to the TLS library.
    #[error("trust anchors: {0}")]
    Anchors(std::io::Error),
    /// `delivery.user_agent` is no header value.
    #[error("delivery.user_agent is no valid header value")]
    UserAgent,
}
