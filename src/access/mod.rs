//! Purpose: who calls: tokens, what they may do, for which tenant, and how often. Must not: depend on a route, or on how a refusal is
//! answered.
pub mod limit;
pub mod token;

pub use limit::CallerLimiter;
pub use token::{Caller, SeesAll};

use std::time::Duration;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// It carries no token, or more than one.
    #[error("a bearer token is needed: Authorization: Bearer …")]
    NoToken,
    /// Nobody's token.
    #[error("the bearer token is not accepted")]
    WrongToken,
    /// Too many with this token; the next may come then.
    #[error("too many requests with this token")]
    TooMany(Duration),
    /// The token may not change anything.
    #[error("this token may only read")]
    ReadOnly,
    /// The header that names the tenant is no name, or there are two.
    #[error("{0}")]
    TenantInvalid(&'static str),
    /// Another tenant's token.
    #[error("this token is for another tenant")]
    TenantForbidden,
    /// An operator's token, and no tenant.
    #[error("this token needs the header X-Tenant-Id")]
    TenantMissing,
}
