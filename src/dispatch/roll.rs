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
                // what is gone stays gone until the routing has it again
                if !self.scheduler.is_gone(lane) || self.current(lane).is_some() {
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

    /// A closed lane's subscription may be active again, or another tenant's, before its lane was reviewed: what was committed since is
    /// owed.
    pub(in crate::dispatch) fn reopen(&mut self, lane: SubscriptionId) {
        // legal: the subscription is gone, and stays so
        let Some(current) = self.current(lane) else { return };
        let leads_to = self.scheduler.endpoint_of(lane);
        if self.scheduler.is_gone(lane) || leads_to.is_some_and(|at| at.tenant != current.tenant) {
            self.refresh_lane(lane);
        }
    }

    /// The active subscription, as it is now.
    pub(in crate::dispatch) fn current(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.routing.borrow().get(id).filter(|subscription| subscription.active).cloned()
    }
}

fn facts(subscription: &Subscription) -> Facts {
    Facts {
        endpoint: subscription.endpoint(),
        ordering: subscription.options.ordering,
        rate: subscription.options.rate,
    }
}
