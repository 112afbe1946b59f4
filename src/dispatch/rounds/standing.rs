//! Purpose: where endpoints stand in the rounds, and the queues that follow from it, pure. Must not: depend on what an endpoint has.
use crate::dispatch::message::Message;
use crate::dispatch::ticket::EndpointId;
use crate::dispatch::timers::Timer;
use std::collections::BTreeMap;

/// Where an endpoint stands. It is in the queue of its place and in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum RoundPlace {
    /// In no queue: nothing is ready, or all it may have is in flight.
    Idle,
    /// In the round.
    Running,
    /// Waits until fewer requests to unproven endpoints are in flight.
    Unproven,
    /// Waits until fewer retries are in flight.
    Retries,
    /// Waits for a timer: breaker, limiter, or a fault of our own.
    Timed(i64),
}

/// A place, and the number in its queue.
#[derive(Debug, Clone, Copy)]
pub(in crate::dispatch) struct Standing {
    place: RoundPlace,
    number: u64,
}

impl Standing {
    pub(in crate::dispatch) fn idle() -> Self {
        Self { place: RoundPlace::Idle, number: 0 }
    }
    pub(in crate::dispatch) fn place(self) -> RoundPlace {
        self.place
    }
}

type NumberedQueue = BTreeMap<u64, EndpointId>;

/// The queues, each first come, first served.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct RoundQueues {
    next_number: u64,
    running: NumberedQueue,
    unproven: NumberedQueue,
    retries: NumberedQueue,
}

impl RoundQueues {
    /// The one way from place to place. To the same place: to the end of its queue.
    pub(in crate::dispatch) fn move_to(
        &mut self,
        id: EndpointId,
        standing: &mut Standing,
        to: RoundPlace,
        out: &mut Vec<Message>,
    ) {
        if let Some(left) = self.queue(standing.place) {
            let was = left.remove(&standing.number);
            debug_assert_eq!(was, Some(id), "not in the queue of its place, {standing:?}");
        } else if let RoundPlace::Timed(at) = standing.place {
            out.push(Message::Cancel(at, Timer::Endpoint(id)));
        }
        self.enter(id, standing, to, out);
    }

    /// The same for an endpoint whose timer has come; false: it does not wait for that one.
    pub(in crate::dispatch) fn timer_came(&mut self, standing: &mut Standing, at: i64) -> bool {
        let waited = standing.place == RoundPlace::Timed(at);
        if waited {
            *standing = Standing::idle();
        }
        waited
    }

    /// The first of a queue; it stays there.
    pub(in crate::dispatch) fn first(&mut self, place: RoundPlace) -> Option<EndpointId> {
        self.queue(place)?.first_key_value().map(|(_, id)| *id)
    }

    fn enter(&mut self, id: EndpointId, standing: &mut Standing, to: RoundPlace, out: &mut Vec<Message>) {
        self.next_number += 1;
        *standing = Standing { place: to, number: self.next_number };
        let number = self.next_number;
        if let Some(entered) = self.queue(to) {
            entered.insert(number, id);
        } else if let RoundPlace::Timed(at) = to {
            out.push(Message::Set(at, Timer::Endpoint(id)));
        }
    }

    fn queue(&mut self, place: RoundPlace) -> Option<&mut NumberedQueue> {
        match place {
            RoundPlace::Idle | RoundPlace::Timed(_) => None,
            RoundPlace::Running => Some(&mut self.running),
            RoundPlace::Unproven => Some(&mut self.unproven),
            RoundPlace::Retries => Some(&mut self.retries),
        }
    }
}

#[cfg(any(test, debug_assertions))]
impl RoundQueues {
    /// Each endpoint is in the queue of its place, and nothing else is in a queue.
    pub(in crate::dispatch) fn check<'a>(&self, all: impl Iterator<Item = (EndpointId, &'a Standing)>) {
        let mut queued = 0;
        for (id, standing) in all {
            let queue = match standing.place {
                RoundPlace::Idle | RoundPlace::Timed(_) => continue,
                RoundPlace::Running => &self.running,
                RoundPlace::Unproven => &self.unproven,
                RoundPlace::Retries => &self.retries,
            };
            assert_eq!(queue.get(&standing.number), Some(&id), "{standing:?}");
            queued += 1;
        }
        assert_eq!(queued, self.running.len() + self.unproven.len() + self.retries.len(), "a queue has more");
    }
}
