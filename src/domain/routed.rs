//! Purpose: an event with a delivery for each subscription that asked for it: made once, wherever the event comes from. Must not: depend
//! on how it is kept.
use super::{DeliveryId, DeliveryKey, Event, Subscription, SubscriptionId};
use std::sync::Arc;

/// Never without a delivery: what nobody asked for is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    event: Arc<Event>,
    deliveries: Vec<NewDelivery>,
}

/// A delivery that is owed from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// For which subscription.
    pub subscription: SubscriptionId,
    /// Its tenant and the id derived from event and subscription.
    pub key: DeliveryKey,
    /// The subscription's URL now.
    pub target_url: String,
}

impl Routed {
    /// The event for these subscriptions; `None`: there are none.
    pub fn new<'a>(
        event: Arc<Event>,
        asked: impl IntoIterator<Item = &'a Arc<Subscription>>,
    ) -> Option<Self> {
        let delivery = |subscription: &Arc<Subscription>| {
            debug_assert_eq!(subscription.tenant, event.tenant, "an event is shown to its own tenant alone");
            let id = DeliveryId::derive(event.id, subscription.id, event.timestamp_us);
            NewDelivery {
                subscription: subscription.id,
                key: DeliveryKey { tenant: event.tenant.clone(), id },
                target_url: subscription.url.clone(),
            }
        };
        let deliveries: Vec<_> = asked.into_iter().map(delivery).collect();
        (!deliveries.is_empty()).then_some(Self { event, deliveries })
    }

    /// How many are owed.
    pub fn count(&self) -> usize {
        self.deliveries.len()
    }

    /// Apart.
    pub fn into_parts(self) -> (Arc<Event>, Vec<NewDelivery>) {
        (self.event, self.deliveries)
    }
}
