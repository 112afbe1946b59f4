//! Purpose: how far a stream has come, and what may be confirmed. Must not: depend on a connection, the journal or a clock.
//!
//! The rule (SPEC 5.6, DESIGN 3): nothing is ever confirmed that the journal does not hold as its position, and nothing
//! beyond what was received, for Postgres accepts an acknowledgement beyond its own WAL and then skips data.
use crate::capture::Feedback;
use crate::domain::Lsn;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// At most one durable position frame in this time while idle.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// How far one stream has come.
#[derive(Debug, Clone)]
pub struct Progress {
    received: Lsn,
    durable: Lsn,
    /// Ends of commits that were received and are not durable yet, in order.
    in_flight: VecDeque<Lsn>,
    /// Begin was received and its Commit not.
    open: bool,
    /// The server has sent every transaction that committed before this.
    complete: Lsn,
    idle_at: Option<Instant>,
}

impl Progress {
    /// A stream starts from `position`, which the journal holds.
    pub fn new(position: Lsn) -> Self {
        Self {
            received: position,
            durable: position,
            in_flight: VecDeque::new(),
            open: false,
            complete: position,
            idle_at: None,
        }
    }

    /// An `XLogData` frame came; `open`: after it a transaction is incomplete (`Assembler::is_open`).
    pub fn wal(&mut self, start: Lsn, end: Lsn, open: bool) {
        self.received = self.received.max(start).max(end);
        self.open = open;
    }

    /// A transaction is complete and on its way to the journal.
    pub fn committed(&mut self, end: Lsn) {
        self.received = self.received.max(end);
        self.in_flight.push_back(end);
    }

    /// A keepalive came. Inside a transaction its position says nothing about what is complete.
    pub fn keepalive(&mut self, end: Lsn) {
        self.received = self.received.max(end);
        if !self.open {
            self.complete = self.complete.max(end);
        }
    }

    /// The journal holds `position` now, and everything before it.
    pub fn durable(&mut self, position: Lsn) {
        self.durable = self.durable.max(position);
        while self.in_flight.front().is_some_and(|end| *end <= self.durable) {
            self.in_flight.pop_front();
        }
    }

    /// The server has sent every transaction that committed before this.
    pub fn complete(&self) -> Lsn {
        self.complete
    }

    /// Nothing received is waiting to become durable.
    pub fn is_idle(&self) -> bool {
        !self.open && self.in_flight.is_empty()
    }

    /// A position that shall be made durable (then say `durable`), so that an idle ERP on a busy cluster does not keep
    /// WAL for ever. At most one a second.
    pub fn idle_position(&mut self, now: Instant) -> Option<Lsn> {
        let due = self.idle_at.is_none_or(|last| now.saturating_duration_since(last) >= IDLE_EVERY);
        if !due || !self.is_idle() || self.complete <= self.durable {
            return None;
        }
        self.idle_at = Some(now);
        Some(self.complete)
    }

    /// The server asks: its shutdown may wait for the answer, so an idle position is due at once.
    pub fn asked(&mut self) {
        self.idle_at = None;
    }

    /// What the server may be told now.
    pub fn feedback(&self) -> Feedback {
        Feedback { written: self.received, flushed: self.durable.min(self.received) }
    }

    /// What holds between two steps of a stream: confirmed ≤ durable ≤ received, and what waits for the disk lies between.
    pub fn check(&self) {
        let Feedback { written, flushed } = self.feedback();
        debug_assert!(flushed <= self.durable && self.durable <= self.received, "{self:?}");
        debug_assert!(written <= self.received && self.complete <= self.received, "{self:?}");
        debug_assert!(self.in_flight.iter().all(|end| self.durable < *end && *end <= self.received));
    }

    /// Highest position that the server has named.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Bytes of WAL that the server has told of and the journal does not hold.
    pub fn lag_bytes(&self) -> u64 {
        self.received.0.saturating_sub(self.durable.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flushed(progress: &Progress) -> u64 {
        progress.feedback().flushed.0
    }

    #[tokio::test]
    async fn only_durable_commits_are_confirmed() {
        let mut progress = Progress::new(Lsn(10));
        assert_eq!(progress.feedback(), Feedback { written: Lsn(10), flushed: Lsn(10) });
        progress.wal(Lsn(12), Lsn(12), true);
        progress.wal(Lsn(20), Lsn(20), false);
        progress.committed(Lsn(20));
        progress.committed(Lsn(30));
        assert_eq!(progress.feedback(), Feedback { written: Lsn(30), flushed: Lsn(10) });
        progress.durable(Lsn(20));
        assert_eq!((flushed(&progress), progress.is_idle(), progress.lag_bytes()), (20, false, 10));
        progress.durable(Lsn(30));
        assert_eq!((flushed(&progress), progress.is_idle(), progress.lag_bytes()), (30, true, 0));
    }

    #[tokio::test]
    async fn a_position_beyond_what_was_received_is_clamped() {
        let mut progress = Progress::new(Lsn(10));
        progress.durable(Lsn(99));
        assert_eq!(flushed(&progress), 10);
    }

    #[tokio::test]
    async fn an_idle_position_becomes_durable_before_it_is_confirmed() {
        let now = Instant::now();
        let mut progress = Progress::new(Lsn(10));
        assert_eq!(progress.idle_position(now), None, "nothing ahead");
        progress.keepalive(Lsn(50));
        assert_eq!(progress.idle_position(now), Some(Lsn(50)));
        assert_eq!(flushed(&progress), 10, "asked for, but not durable");
        assert_eq!(progress.idle_position(now + Duration::from_millis(999)), None, "one a second");
        assert_eq!(progress.idle_position(now + IDLE_EVERY), Some(Lsn(50)), "again, for it was not done");
        progress.durable(Lsn(50));
        assert_eq!(flushed(&progress), 50);
        assert_eq!(progress.idle_position(now + 3 * IDLE_EVERY), None);
        progress.keepalive(Lsn(60));
        assert_eq!(progress.idle_position(now + IDLE_EVERY), None, "one a second");
        progress.asked();
        assert_eq!(progress.idle_position(now + IDLE_EVERY), Some(Lsn(60)), "the server waits");
    }

    #[tokio::test]
    async fn no_idle_position_while_something_is_pending() {
        let now = Instant::now();
        let mut progress = Progress::new(Lsn(10));
        progress.committed(Lsn(20));
        progress.keepalive(Lsn(50));
        assert_eq!(progress.idle_position(now), None, "in flight");
        progress.durable(Lsn(20));
        progress.wal(Lsn(51), Lsn(51), true);
        assert_eq!(progress.idle_position(now), None, "open");
        progress.keepalive(Lsn(60));
        progress.wal(Lsn(55), Lsn(55), false);
        assert_eq!(
            progress.idle_position(now),
            Some(Lsn(50)),
            "a keepalive inside a transaction does not count"
        );
    }

    proptest! {
        #[test]
        fn never_beyond_the_journal_nor_the_received(steps in prop::collection::vec((0_u8..4, 0_u64..1000, any::<bool>()), 0..100)) {
            let mut progress = Progress::new(Lsn(5));
            let (mut durable, mut received) = (5, 5);
            for (kind, at, open) in steps {
                match kind {
                    0 => progress.wal(Lsn(at), Lsn(at), open),
                    1 => progress.committed(Lsn(at)),
                    2 => progress.keepalive(Lsn(at)),
                    _ => progress.durable(Lsn(at)),
                }
                if kind == 3 { durable = durable.max(at) } else { received = received.max(at) }
                prop_assert!(flushed(&progress) <= durable.min(received));
            }
        }
    }
}
