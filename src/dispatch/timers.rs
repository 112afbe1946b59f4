//! Purpose: what happens at a time, in order, pure. Must not: read a clock, or depend on what a timer is for.
use crate::dispatch::ticket::{EndpointId, Ticket};
use std::collections::BTreeSet;

/// Something that happens at a (steady) millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dispatch) enum Timer {
    /// A delivery is due.
    Due(Ticket),
    /// A delivery is too old.
    Expire(Ticket),
    /// An endpoint may go on.
    Endpoint(EndpointId),
}

/// All timers. One that is set is cancelled or taken once; all else is an error of the caller.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Timers {
    set: BTreeSet<(i64, Timer)>,
}

impl Timers {
    pub(in crate::dispatch) fn set(&mut self, at: i64, timer: Timer) {
        let new = self.set.insert((at, timer));
        debug_assert!(new, "{timer:?} is set twice for {at}");
    }
    pub(in crate::dispatch) fn cancel(&mut self, at: i64, timer: Timer) {
        let was_set = self.set.remove(&(at, timer));
        debug_assert!(was_set, "{timer:?} is not set for {at}");
    }
    /// When the next one is.
    pub(in crate::dispatch) fn next_wake(&self) -> Option<i64> {
        self.set.first().map(|(at, _)| *at)
    }
    /// The next one whose time has come.
    pub(in crate::dispatch) fn take_due(&mut self, now: i64) -> Option<(i64, Timer)> {
        let due = self.set.first().is_some_and(|(at, _)| *at <= now);
        if due { self.set.pop_first() } else { None }
    }
}

#[cfg(any(test, debug_assertions))]
impl Timers {
    pub(in crate::dispatch) fn has(&self, at: i64, timer: Timer) -> bool {
        self.set.contains(&(at, timer))
    }
    pub(in crate::dispatch) fn len(&self) -> usize {
        self.set.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_once() {
        let mut timers = Timers::default();
        for (at, id) in [(20, 1), (10, 2), (10, 1)] {
            timers.set(at, Timer::Endpoint(id));
        }
        timers.cancel(10, Timer::Endpoint(2));
        assert_eq!((timers.next_wake(), timers.take_due(9)), (Some(10), None));
        assert_eq!(timers.take_due(30), Some((10, Timer::Endpoint(1))));
        assert_eq!(timers.take_due(30), Some((20, Timer::Endpoint(1))));
        assert_eq!((timers.next_wake(), timers.take_due(30)), (None, None));
    }

    #[test]
    #[should_panic(expected = "is not set")]
    fn what_is_cancelled_was_set() {
        Timers::default().cancel(1, Timer::Endpoint(1));
    }
}
