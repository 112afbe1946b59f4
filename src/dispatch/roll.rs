//! Keeps the scheduler's lanes in step with the subscriptions. Decides nothing about deliveries.
use super::roster::Facts;
use super::run::Dispatch;
use crate::domain::{Subscription, SubscriptionId};
use crate::egress::Transport;
use crate::store::StoreError;
use std::sync::Arc;

/// Lanes that are looked at in one turn after a change.
const REVIEWED: usize = 256;

impl<T: Transport, J: FnMut() -> f64 + Send> Dispatch<T, J> {
    /// Lists lanes at start and after an overflow; goes on with a review.
    pub(super) fn keep_lanes(&mut self) -> Result<(), StoreError> {
        if self.list_lanes {
            for lane in self.parts.store.lanes()? {
                self.refresh_lane(lane);
                self.scheduler.backlog(lane);
            }
            self.list_lanes = false;
        }
        if let Some(after) = self.review.take() {
            let lanes = self.scheduler.lanes_after(after, REVIEWED);
            self.review = lanes.last().filter(|_| lanes.len() == REVIEWED).map(|last| Some(*last));
            for lane in lanes {
                // What is gone stays gone until the routing says otherwise; no need to ask the store each time.
                if !self.scheduler.is_gone(lane) || self.routed(lane).is_some() {
                    self.refresh_lane(lane);
                }
            }
        }
        Ok(())
    }

    /// Opens, moves or closes a lane as its subscription says now.
    pub(super) fn refresh_lane(&mut self, lane: SubscriptionId) {
        let now = self.now();
        match self.current(lane) {
            Some(subscription) => self.scheduler.open_lane(lane, &facts(&subscription), now),
            None => {
                tracing::info!(subscription = %lane, "the subscription is gone, what it waits for is abandoned");
                self.scheduler.close_lane(lane, "the subscription was deleted before this was sent", now);
            }
        }
    }

    /// The active subscription, as it is now. The routing is published after the commit that changed it, so a
    /// subscription that it does not know (yet) is looked for in the store before anything is given up.
    pub(super) fn current(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.routed(id).or_else(|| {
            let stored = self.parts.store.subscriptions();
            stored.into_iter().find(|s| s.id == id && s.active).map(Arc::new)
        })
    }

    fn routed(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.parts.routing.borrow().get(id).filter(|subscription| subscription.active).cloned()
    }
}

fn facts(subscription: &Subscription) -> Facts {
    Facts {
        endpoint: subscription.endpoint(),
        ordering: subscription.options.ordering,
        rate: subscription.options.rate,
    }
}
