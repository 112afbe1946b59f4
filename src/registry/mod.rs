//! Purpose: what a row of `webhook_subscriptions` means: validation, seals, records. Must not: know SQL or HTTP.
pub mod master_key;
pub mod rows;
pub mod seal;
pub mod validate;

use crate::domain::{Routing, Subscription, SubscriptionId};
use crate::store::Record;
use rows::RowChange;
use std::collections::BTreeMap;

/// Rows that the validation refuses, with the reason: not routed, named by `check` and `/status` (SPEC 5.8).
pub type RefusedRows = BTreeMap<SubscriptionId, String>;

/// Applies what a row's change means; gives what must be journaled for it. A refused row is journaled as gone: it is not routed after a
/// restart either.
pub fn apply(change: RowChange, routing: &mut Routing, refused: &mut RefusedRows) -> Record {
    match change {
        RowChange::Put(subscription) => {
            refused.remove(&subscription.id);
            routing.put(Subscription::clone(&subscription));
            Record::Subscription(subscription)
        }
        RowChange::Gone(id) => {
            refused.remove(&id);
            routing.remove(id);
            Record::SubscriptionGone(id)
        }
        RowChange::Refused(id, reason) => {
            routing.remove(id);
            refused.insert(id, reason);
            Record::SubscriptionGone(id)
        }
        RowChange::Cleared => {
            refused.clear();
            routing.clear();
            Record::SubscriptionsCleared
        }
    }
}
