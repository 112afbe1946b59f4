//! Who may look in, and where.
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// `admin.listen`: its address is an allowed Host.
    pub listen: SocketAddr,
    /// `admin.allowed_hosts`: more names for the Host header.
    pub allowed_hosts: Vec<String>,
    /// `[[admin.token]]`
    pub tokens: Vec<AdminToken>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9400)),
            allowed_hosts: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

/// `[[admin.token]]`
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// For the log, the audit and the limiter.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// `*`: any tenant, named per request; else this one.
    pub tenant: String,
    /// What it may do.
    pub scope: Scope,
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminToken({:?}, {:?}, {:?})", self.name, self.tenant, self.scope)
    }
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Look.
    Read,
    /// Look and change.
    Write,
}
