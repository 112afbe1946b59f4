//! Where deliveries go. Knows no connection.
use super::TenantId;

/// Tenant and target URL: what limiter, breaker and connection pool are keyed by (SPEC 1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// Whose endpoint.
    pub tenant: TenantId,
    /// Its URL, as the subscription has it.
    pub url: String,
}
