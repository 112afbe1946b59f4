//! Purpose: one endpoint: what is ready for it, and how much of it may go now (SPEC 5.2, 5.5), pure. Must not: depend on lanes or on
//! other endpoints.
use crate::dispatch::message::ReadyTicket;
use crate::dispatch::now::{Now, millis};
use crate::dispatch::retry::{Sign, sign};
use crate::dispatch::rounds::breaker::{Breaker, BreakerGate};
use crate::dispatch::rounds::limit::EndpointLimiter;
use crate::dispatch::rounds::standing::{RoundPlace, RoundStanding};
use crate::dispatch::ticket::Ticket;
use crate::domain::{EndpointKey, Failure, Outcome, Seq, SubscriptionId};
use crate::settings::DispatchSettings;
use std::collections::BTreeSet;

/// After a fault of our own an endpoint rests this long.
const HOLD_MS: i64 = 1_000;

/// What an endpoint adds to the sums over all endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::dispatch) struct RoundSums {
    /// Requests in flight.
    pub(in crate::dispatch) in_flight: usize,
    /// Those to endpoints whose last attempt was no success.
    pub(in crate::dispatch) unproven: usize,
    /// Those that are retries.
    pub(in crate::dispatch) retries: usize,
    /// Endpoints whose breaker refuses or probes.
    pub(in crate::dispatch) refusing: usize,
}

impl RoundSums {
    /// One of the summands is another now.
    pub(in crate::dispatch) fn replace(&mut self, before: Self, after: Self) {
        let change = |sum: &mut usize, before: usize, after: usize| {
            debug_assert!(*sum >= before, "a sum is less than a part of it");
            *sum = sum.saturating_sub(before) + after;
        };
        change(&mut self.in_flight, before.in_flight, after.in_flight);
        change(&mut self.unproven, before.unproven, after.unproven);
        change(&mut self.retries, before.retries, after.retries);
        change(&mut self.refusing, before.refusing, after.refusing);
    }
}

/// What the shares of concurrency leave.
#[derive(Debug, Clone, Copy)]
pub(in crate::dispatch) struct Shares {
    /// Requests in flight to one endpoint.
    pub(in crate::dispatch) window: usize,
    /// Another request to an unproven endpoint may go.
    pub(in crate::dispatch) unproven: bool,
    /// Another retry may go.
    pub(in crate::dispatch) retry: bool,
}

/// What an endpoint whose turn it is may do.
#[derive(Debug)]
pub(in crate::dispatch) enum Turn {
    /// Start this one, as a probe or not.
    Start(ReadyTicket, bool),
    /// Wait there.
    Wait(RoundPlace),
}

/// One endpoint. Times are steady milliseconds.
#[derive(Debug)]
pub(in crate::dispatch) struct Endpoint {
    key: EndpointKey,
    /// Lanes lead to it.
    used: bool,
    /// Never attempted, in commit order.
    fresh: BTreeSet<(Seq, SubscriptionId)>,
    /// Attempted before, those that have waited longest first.
    retries: BTreeSet<(i64, Seq, SubscriptionId)>,
    /// Whose turn it is when both are there.
    retry_next: bool,
    in_flight: usize,
    retries_in_flight: usize,
    /// Requests that may be in flight: one, and one more per success, up to the cap.
    window: usize,
    /// Its last attempt was a success.
    proven: bool,
    breaker: Breaker,
    limiter: Option<EndpointLimiter>,
    /// Nothing goes before: a fault of our own would only repeat itself.
    hold_until: i64,
    standing: RoundStanding,
}

impl Endpoint {
    pub(in crate::dispatch) fn new(key: EndpointKey) -> Self {
        Self {
            key,
            used: true,
            fresh: BTreeSet::new(),
            retries: BTreeSet::new(),
            retry_next: false,
            in_flight: 0,
            retries_in_flight: 0,
            window: 1,
            proven: false,
            breaker: Breaker::default(),
            limiter: None,
            hold_until: i64::MIN,
            standing: RoundStanding::idle(),
        }
    }
    pub(in crate::dispatch) fn key(&self) -> &EndpointKey {
        &self.key
    }
    pub(in crate::dispatch) fn is_proven(&self) -> bool {
        self.proven
    }
    pub(in crate::dispatch) fn is_refusing(&self) -> bool {
        self.breaker.is_refusing()
    }
    pub(in crate::dispatch) fn has_ready(&self) -> bool {
        self.has_fresh() || !self.retries.is_empty()
    }
    pub(in crate::dispatch) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }
    pub(in crate::dispatch) fn place(&self) -> RoundPlace {
        self.standing.place()
    }
    pub(in crate::dispatch) fn standing(&mut self) -> &mut RoundStanding {
        &mut self.standing
    }
    /// Lanes lead to it, or none any more.
    pub(in crate::dispatch) fn set_used(&mut self, used: bool) {
        self.used = used;
    }
    /// No lane leads to it and nothing is on its way: it can be forgotten.
    pub(in crate::dispatch) fn is_idle(&self) -> bool {
        !self.used && self.in_flight == 0
    }
    pub(in crate::dispatch) fn sums(&self) -> RoundSums {
        RoundSums {
            in_flight: self.in_flight,
            unproven: if self.proven { 0 } else { self.in_flight },
            retries: self.retries_in_flight,
            refusing: usize::from(self.is_refusing()),
        }
    }

    /// False: it was there.
    pub(in crate::dispatch) fn insert(&mut self, ready: ReadyTicket) -> bool {
        let Ticket { lane, seq } = ready.ticket;
        if ready.retry { self.retries.insert((ready.due, seq, lane)) } else { self.fresh.insert((seq, lane)) }
    }
    /// False: it was not there.
    pub(in crate::dispatch) fn remove(&mut self, ready: ReadyTicket) -> bool {
        let Ticket { lane, seq } = ready.ticket;
        let was = if ready.retry {
            self.retries.remove(&(ready.due, seq, lane))
        } else {
            self.fresh.remove(&(seq, lane))
        };
        // empty sets keep their last node
        if !self.has_ready() {
            (self.fresh, self.retries) = (BTreeSet::new(), BTreeSet::new());
        }
        was
    }

    /// What it may do now. What is started takes a place of its limit.
    pub(in crate::dispatch) fn turn(&self, now: i64, shares: Shares) -> Turn {
        if !self.has_ready() {
            return Turn::Wait(RoundPlace::Idle);
        }
        if now < self.hold_until {
            return Turn::Wait(RoundPlace::Timed(self.hold_until));
        }
        let probe = match self.breaker.gate(now) {
            BreakerGate::Open => false,
            BreakerGate::Probe => true,
            BreakerGate::Until(at) => return Turn::Wait(RoundPlace::Timed(at)),
            BreakerGate::AfterProbe => return Turn::Wait(RoundPlace::Idle),
        };
        // What was on its way when it began to refuse does not hold up the probe.
        if !probe && self.in_flight >= self.window.min(shares.window) {
            return Turn::Wait(RoundPlace::Idle);
        }
        if !self.proven && !shares.unproven {
            return Turn::Wait(RoundPlace::Unproven);
        }
        let Some(choice) = self.choose(shares.retry, probe) else {
            return Turn::Wait(RoundPlace::Retries);
        };
        // Last, for it takes a place.
        match self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(now)) {
            Ok(()) => Turn::Start(choice, probe),
            Err(at) => Turn::Wait(RoundPlace::Timed(at)),
        }
    }

    /// What goes next. First attempts and retries take turns, so that neither starves the other; a probe takes what
    /// was never tried or has waited longest, so that probes rotate over ordering keys.
    fn choose(&self, retries_allowed: bool, probe: bool) -> Option<ReadyTicket> {
        let ready = |due, seq, lane, retry| ReadyTicket { ticket: Ticket { lane, seq }, due, retry };
        let fresh = self.fresh.first().map(|(seq, lane)| ready(0, *seq, *lane, false));
        let retry = self.retries.first().filter(|_| retries_allowed);
        let retry = retry.map(|(due, seq, lane)| ready(*due, *seq, *lane, true));
        if self.retry_next && !probe { retry.or(fresh) } else { fresh.or(retry) }
    }

    /// What `turn` gave goes.
    pub(in crate::dispatch) fn take(&mut self, choice: ReadyTicket, probe: bool) {
        let was_ready = self.remove(choice);
        debug_assert!(was_ready, "{choice:?} is started and was not ready");
        self.retry_next = !choice.retry;
        self.in_flight += 1;
        self.retries_in_flight += usize::from(choice.retry);
        if probe {
            self.breaker.probe_begins();
        }
    }

    /// A request is back: its place is free.
    pub(in crate::dispatch) fn free(&mut self, retry: bool) {
        let retries = usize::from(retry);
        debug_assert!(self.in_flight > 0 && self.retries_in_flight >= retries, "more is back than was sent");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.retries_in_flight = self.retries_in_flight.saturating_sub(retries);
    }

    /// A probe that was not sent decides nothing.
    pub(in crate::dispatch) fn probe_is_put_back(&mut self) {
        self.breaker = Breaker::Probing { under_way: false };
    }

    /// An attempt has ended: breaker, window and standing. Returns whether a failure is charged to the delivery.
    pub(in crate::dispatch) fn ended(
        &mut self,
        outcome: &Outcome,
        probe: bool,
        settings: &DispatchSettings,
        now: Now,
    ) -> bool {
        let sign = sign(outcome);
        let was_refusing = self.is_refusing();
        let charged = self.breaker.ended(sign, probe, &settings.breaker, now.steady);
        if let Some(asked) = outcome.retry_after_ms.filter(|_| sign == Sign::Fails) {
            let wait = i64::try_from(asked).unwrap_or(i64::MAX).min(millis(settings.backoff.max));
            self.breaker.asked_for(now.steady.saturating_add(wait));
        }
        let success = matches!(outcome.answer, Ok(100..=399));
        if sign != Sign::Nothing {
            self.proven = success;
        }
        if success {
            self.window = (self.window + 1).min(settings.per_endpoint.concurrency.max(1));
        }
        // It hung, or is left alone: begin anew.
        if outcome.answer == Err(Failure::Timeout) || (self.is_refusing() && !was_refusing) {
            self.window = 1;
        }
        if outcome.answer == Err(Failure::Local) {
            self.hold_until = now.steady.saturating_add(HOLD_MS);
        }
        charged
    }

    /// Requests per second; 0: no limit. Another limiter only if the rate is another.
    pub(in crate::dispatch) fn set_rate(&mut self, rate: u32, burst: u32, now: i64) {
        if self.limiter.as_ref().map_or(0, EndpointLimiter::rate) != rate {
            self.limiter = EndpointLimiter::new(rate, burst, now);
        }
    }
}

#[cfg(any(test, debug_assertions))]
impl Endpoint {
    pub(in crate::dispatch) fn has(&self, ready: ReadyTicket) -> bool {
        let Ticket { lane, seq } = ready.ticket;
        let waits = self.retries.contains(&(ready.due, seq, lane));
        if ready.retry { waits } else { self.fresh.contains(&(seq, lane)) }
    }
    pub(in crate::dispatch) fn ready_len(&self) -> usize {
        self.fresh.len() + self.retries.len()
    }
    /// Whoever stands still has a reason that will pass.
    pub(in crate::dispatch) fn check(&self) {
        let stuck = self.place() == RoundPlace::Idle && self.has_ready() && self.in_flight == 0;
        assert!(!stuck, "nothing will bring it back into the round: {self:?}");
        assert!(self.used || !self.has_ready(), "ready for nobody: {self:?}");
    }
}

#[cfg(test)]
impl Endpoint {
    pub(in crate::dispatch) fn window(&self) -> usize {
        self.window
    }
    pub(in crate::dispatch) fn limiter(&self) -> Option<&EndpointLimiter> {
        self.limiter.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::backlog::lane::tests::lane_id;
    use crate::domain::TenantId;
    use crate::settings::BreakerSettings;
    use std::time::Duration;

    const ALL: Shares = Shares { window: 99, unproven: true, retry: true };

    /// With six that were never attempted, 1 to 6, and six retries, 11 to 16.
    fn endpoint() -> Endpoint {
        let mut endpoint = Endpoint::new(EndpointKey { tenant: TenantId::new("t"), url: "x".into() });
        for n in 1..=6 {
            let ready = |n, retry| {
                let ticket = Ticket { lane: lane_id(1), seq: Seq::new(n, 0) };
                ReadyTicket { ticket, due: 0, retry }
            };
            assert!(endpoint.insert(ready(n, false)) && endpoint.insert(ready(10 + n, true)));
        }
        endpoint
    }
    fn settings() -> DispatchSettings {
        let breaker = BreakerSettings { failures: 1, open_for: Duration::from_millis(100) };
        DispatchSettings { breaker, ..DispatchSettings::default() }
    }
    /// What goes, and whether as a probe; `None`: nothing may.
    fn go(endpoint: &mut Endpoint, now: i64, shares: Shares) -> Option<(ReadyTicket, bool)> {
        match endpoint.turn(now, shares) {
            Turn::Start(ready, probe) => {
                endpoint.take(ready, probe);
                Some((ready, probe))
            }
            Turn::Wait(_) => None,
        }
    }
    /// The place of what goes, and it is answered.
    fn round(endpoint: &mut Endpoint, now: i64, status: u16, shares: Shares) -> Option<(u64, bool)> {
        let (ready, probe) = go(endpoint, now, shares)?;
        endpoint.free(ready.retry);
        let outcome = Outcome { answer: Ok(status), detail: None, retry_after_ms: None, duration_us: 1 };
        endpoint.ended(&outcome, probe, &settings(), Now { wall: now, steady: now });
        Some((ready.ticket.seq.parts().0, probe))
    }

    #[test]
    fn first_attempts_and_retries_take_turns() {
        let mut all = endpoint();
        let places: Vec<u64> = (0..6).map_while(|_| round(&mut all, 0, 200, ALL)).map(|(n, _)| n).collect();
        assert_eq!(places, [1, 11, 2, 12, 3, 13]);
        // without a place for a retry its turn is another's
        let fresh = Shares { retry: false, ..ALL };
        let places: Vec<u64> = (0..9).map_while(|_| round(&mut all, 0, 200, fresh)).map(|(n, _)| n).collect();
        assert_eq!(places, [4, 5, 6]);
    }

    /// Whose turn it was does not matter: what was never attempted has nothing against it.
    #[test]
    fn a_probe_is_a_first_attempt_if_there_is_one() {
        let mut endpoint = endpoint();
        assert_eq!(round(&mut endpoint, 0, 503, ALL), Some((1, false)));
        for (now, expected) in [(99, None), (100, Some((2, true))), (200, Some((3, true)))] {
            assert_eq!(round(&mut endpoint, now, 503, ALL), expected, "at {now}");
        }
        assert_eq!(round(&mut endpoint, 300, 200, ALL), Some((4, true)));
        assert_eq!(round(&mut endpoint, 300, 200, ALL), Some((11, false)), "it works again");
    }

    #[test]
    fn an_endpoint_that_begins_to_refuse_begins_anew_with_one_request() {
        let mut endpoint = endpoint();
        for (status, window) in [(200, 2), (200, 3), (500, 1)] {
            assert!(round(&mut endpoint, 0, status, ALL).is_some());
            assert_eq!(endpoint.window(), window, "after {status}");
        }
        assert!(endpoint.is_refusing());
        // an answer to what was still on its way lets it in again, and counts
        let late = Outcome { answer: Ok(200), detail: None, retry_after_ms: None, duration_us: 1 };
        endpoint.ended(&late, false, &settings(), Now { wall: 1, steady: 1 });
        assert_eq!((endpoint.is_refusing(), endpoint.window()), (false, 2));
    }
}
