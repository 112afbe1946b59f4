//! Purpose: keeps the scheduler's lanes in step with the subscriptions. Must not: decide anything about deliveries.
use crate::dispatch::run::Dispatch;
use crate::dispatch::scheduler::Facts;
use crate::domain::{Subscription, SubscriptionId};
use crate::egress::Transport;
use std::sync::Arc;

/// Lanes that are looked at in one turn after a change.
const REVIEWED: usize = 256;

/// How far the review of lanes after a change of the routing has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::dispatch) enum Review {
    /// All seen.
    #[default]
    Done,
    /// Go on after this lane; `None`: from the start.
    After(Option<SubscriptionId>),
}

impl<T: Transport, J: FnMut() -> f64 + Send> Dispatch<T, J> {
    /// Goes on with a review.
    pub(in crate::dispatch) fn review_lanes(&mut self) {
        if let Review::After(after) = std::mem::take(&mut self.review) {
            let lanes = self.scheduler.lanes_after(after, REVIEWED);
            if lanes.len() == REVIEWED {
                self.review = Review::After(lanes.last().copied());
            }
            for lane in lanes {
                // What is gone stays gone until the routing says otherwise; no need to ask the store each time.
                if !self.scheduler.is_gone(lane) || self.routed(lane).is_some() {
                    self.refresh_lane(lane);
                }
            }
        }
    }

    /// Opens, moves or closes a lane as its subscription says now.
    pub(in crate::dispatch) fn refresh_lane(&mut self, lane: SubscriptionId) {
        let now = self.now();
        if let Some(subscription) = self.current(lane) {
            self.scheduler.open_lane(lane, &facts(&subscription), now);
        } else {
            tracing::info!(subscription = %lane, "the subscription is gone, what it waits for is abandoned");
            self.scheduler.close_lane(lane, "the subscription was deleted before this was sent", now);
        }
    }

    /// A closed lane's subscription may be active again, or another tenant's, before the routing says so: what was committed
    /// since is owed.
    pub(in crate::dispatch) fn reopen(&mut self, lane: SubscriptionId) {
        // legal: the subscription is gone, and stays so
        let Some(current) = self.current(lane) else { return };
        let leads_to = self.scheduler.endpoint_of(lane);
        if self.scheduler.is_gone(lane) || leads_to.is_some_and(|at| at.tenant != current.tenant) {
            self.refresh_lane(lane);
        }
    }

    /// The active subscription, as it is now. The routing is published after the commit that changed it, so the store is asked
    /// before anything is given up: of a subscription that the routing does not know (yet), and whose it is.
    pub(in crate::dispatch) fn current(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let stored = self.parts.outbox.subscription(id).filter(|subscription| subscription.active);
        match (self.routed(id), stored) {
            (Some(routed), Some(stored)) if routed.tenant != stored.tenant => Some(stored),
            (routed, stored) => routed.or(stored),
        }
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
