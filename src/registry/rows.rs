//! A row of `webhook_subscriptions` → what the routing does with it. Pure.
use crate::domain::{Subscription, SubscriptionId};

/// What a change of the table means for the routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The row as it is now, its secret sealed.
    Put(Box<Subscription>),
    /// The row is gone.
    Gone(SubscriptionId),
    /// The row is there but must not be routed: why (SPEC 5.8).
    Refused(SubscriptionId, String),
    /// TRUNCATE.
    Cleared,
}
