//! How a request leaves, and where it may go.
use ipnet::IpNet;
use std::path::PathBuf;

/// `[egress]`, and `delivery.user_agent`.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressSettings {
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

impl Default for EgressSettings {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_networks: Vec::new(),
            ports: vec![443, 8443],
            ca_files: Vec::new(),
            user_agent: "GestiqCloud-Webhooks/1.0".to_owned(),
        }
    }
}
