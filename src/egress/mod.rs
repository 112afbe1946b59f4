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

use ipnet::IpNet;
use std::path::PathBuf;

/// The `[egress]` section, and what the wire needs from `[delivery]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `egress.allow_http`: development only.
    pub allow_http: bool,
    /// `egress.allow_networks`: ranges that would be refused.
    pub allow_networks: Vec<IpNet>,
    /// `egress.ports`: what may be dialled outside `allow_networks`.
    pub ports: Vec<u16>,
    /// `egress.ca_files`: PEM, in addition to the platform's roots.
    pub ca_files: Vec<PathBuf>,
    /// `delivery.user_agent`.
    pub user_agent: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_networks: Vec::new(),
            ports: vec![443, 8443],
            ca_files: Vec::new(),
            user_agent: "GestiqCloud-Webhooks/1.0".into(),
        }
    }
}

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
