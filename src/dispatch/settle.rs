//! What an attempt changes, and what follows once it is durable (SPEC 5.2, 5.4), pure.
use crate::dispatch::backlog::lane::{Ending, TicketState};
use crate::dispatch::now::{Now, millis};
use crate::dispatch::retry::{Judged, RetryVerdict, Sign, judge, sign};
use crate::dispatch::rounds::endpoint::{Endpoint, EndpointId, RoundPlace};
use crate::dispatch::rounds::pick::Job;
use crate::dispatch::scheduler::{ANOTHERS, EXPIRED, Scheduler, Timer};
use crate::dispatch::ticket::Ticket;
use crate::domain::{Attempt, DeliveryKey, Failure, Next, Outcome};
use crate::fault;

/// After a fault of our own an endpoint rests this long.
const HOLD_MS: i64 = 1_000;
/// Deliveries that are crowded out in one step.
const CROWDED: usize = 32;
const CROWDED_OUT: &str = "crowded out: the endpoint has more than delivery.max_pending deliveries";

/// An attempt to make durable; then call `settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which delivery.
    pub key: DeliveryKey,
    /// For its record.
    pub attempt: Attempt,
    /// What follows.
    pub next: Next,
}

impl Scheduler {
    /// An attempt is over. `at_ms` is when it began (Unix), `jitter` in [0, 1).
    pub fn done(&mut self, job: &Job, outcome: Outcome, at_ms: i64, now: Now, jitter: f64) -> Done {
        let sign = sign(&outcome);
        let before = &job.pending;
        let charged = self.ends_at_endpoint(job, sign, &outcome, now);
        let judged =
            judge(&outcome, before.counted_attempts, before.attempts, charged, &self.settings, jitter);
        let next = match judged.verdict {
            RetryVerdict::Delivered => Next::Delivered,
            RetryVerdict::Failed => Next::Failed,
            RetryVerdict::Retry(wait) => Next::RetryAt(now.wall.saturating_add(wait)),
        };
        self.ends_in_lane(job, judged, next, now);
        self.wake_parked();
        let number = before.attempts.saturating_add(1);
        Done {
            key: before.key.clone(),
            attempt: Attempt { number, at_ms, outcome, counted: judged.counted },
            next,
        }
    }

    /// Breaker, window and standing of the endpoint; returns whether a failure is charged to the delivery.
    fn ends_at_endpoint(&mut self, job: &Job, sign: Sign, outcome: &Outcome, now: Now) -> bool {
        self.free(job);
        let cap = self.settings.per_endpoint.concurrency;
        let Some(endpoint) = self.endpoints.get_mut(&job.endpoint) else { return true };
        let was_refusing = endpoint.breaker.is_refusing();
        let was_proven = endpoint.proven;
        let charged = endpoint.breaker.ended(sign, job.probe, &self.settings.breaker, now.steady);
        if let Some(asked) = outcome.retry_after_ms.filter(|_| sign == Sign::Fails) {
            let wait = i64::try_from(asked).unwrap_or(i64::MAX).min(millis(self.settings.backoff.max));
            endpoint.breaker.asked_for(now.steady.saturating_add(wait));
        }
        let success = matches!(outcome.answer, Ok(100..=399));
        if sign != Sign::Nothing {
            endpoint.proven = success;
        }
        if success {
            endpoint.succeeded(cap);
        }
        if outcome.answer == Err(Failure::Timeout) || (endpoint.breaker.is_refusing() && !was_refusing) {
            endpoint.slow_down();
        }
        if outcome.answer == Err(Failure::Local) {
            endpoint.hold_until = now.steady.saturating_add(HOLD_MS);
        }
        match (was_proven, endpoint.proven) {
            (false, true) => {
                self.unproven_in_flight = self.unproven_in_flight.saturating_sub(endpoint.in_flight);
            }
            (true, false) => self.unproven_in_flight += endpoint.in_flight,
            _ => {}
        }
        match (was_refusing, endpoint.breaker.is_refusing()) {
            (false, true) => self.refusing += 1,
            (true, false) => self.refusing -= 1,
            _ => {}
        }
        self.after_change(job.endpoint, was_refusing, was_proven);
        charged
    }

    fn after_change(&mut self, id: EndpointId, was_refusing: bool, was_proven: bool) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        if let (true, false, RoundPlace::Timed(at)) =
            (was_refusing, endpoint.breaker.is_refusing(), endpoint.place)
        {
            self.timers.remove(&(at, Timer::Endpoint(id)));
            endpoint.place = RoundPlace::Idle;
        }
        let read_more: Vec<_> = if endpoint.proven && !was_proven {
            endpoint.lanes.iter().copied().collect()
        } else {
            Vec::new()
        };
        self.enqueue(id);
        for lane in read_more {
            self.touch(lane);
        }
        self.forget_endpoint(id);
    }

    fn ends_in_lane(&mut self, job: &Job, judged: Judged, next: Next, now: Now) {
        let Some(lane) = self.lanes.get_mut(&job.ticket.lane) else { return };
        lane.active = lane.active.saturating_sub(1);
        let Some(item) = lane.items.get_mut(&job.ticket.seq) else { return };
        item.pending.attempts = item.pending.attempts.saturating_add(1);
        item.pending.counted_attempts =
            item.pending.counted_attempts.saturating_add(u32::from(judged.counted));
        let ending = match (judged.verdict, next) {
            (RetryVerdict::Retry(wait), Next::RetryAt(at)) => {
                item.pending.due_ms = at;
                fault::crash_point("dispatch.retry-planned");
                let lost =
                    fault::planted("lost-retry") && judged.counted && item.pending.counted_attempts == 3
                        || fault::planted("breaker-swallows") && !judged.counted;
                if lost { Ending::Lost } else { Ending::Retry(now.steady.saturating_add(wait)) }
            }
            _ => Ending::Final,
        };
        item.state = TicketState::Settling(ending);
        if ending == Ending::Final {
            self.no_longer_owed(job.ticket);
        }
    }

    /// What was decided about a delivery is durable: only now its key goes on, or its retry is planned.
    pub fn settled(&mut self, ticket: Ticket, now: Now) {
        let state =
            self.lanes.get(&ticket.lane).and_then(|lane| lane.items.get(&ticket.seq)).map(|item| item.state);
        match state {
            Some(TicketState::Settling(Ending::Final)) => {
                self.unhook(ticket);
                self.drop_item(ticket, now);
            }
            Some(TicketState::Settling(Ending::Retry(due))) => self.resume(ticket, due, now),
            _ => {}
        }
    }

    /// A delivery that was on its way waits again, unless it has become void meanwhile.
    pub(in crate::dispatch) fn resume(&mut self, ticket: Ticket, due: i64, now: Now) {
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else { return };
        let of_another =
            lane.items.get(&ticket.seq).is_some_and(|item| lane.is_anothers(&self.endpoints, &item.pending));
        let gone = lane.gone.or(of_another.then_some(ANOTHERS));
        let Some(item) = lane.items.get_mut(&ticket.seq) else { return };
        let expired = item.expires <= now.steady;
        item.state = TicketState::Queued;
        match gone {
            Some(reason) => self.give_up(ticket, reason),
            None if expired => self.give_up(ticket, EXPIRED),
            None => self.wait_until(ticket, due, now),
        }
        self.touch(ticket.lane);
    }

    /// Beyond `max_pending` the oldest that are in memory and not on their way are given up.
    pub(in crate::dispatch) fn crowd_out(&mut self, id: EndpointId) {
        for _ in 0..CROWDED {
            let Some(endpoint) = self.endpoints.get(&id) else { return };
            if endpoint.owed <= self.settings.max_pending {
                return;
            }
            let Some(oldest) = self.oldest(endpoint) else { return };
            self.give_up(oldest, CROWDED_OUT);
        }
    }

    fn oldest(&self, endpoint: &Endpoint) -> Option<Ticket> {
        let first = |id| {
            let lane = self.lanes.get(id)?;
            let (seq, _) = lane.items.iter().find(|(_, item)| item.state.is_idle())?;
            Some(Ticket { lane: *id, seq: *seq })
        };
        endpoint.lanes.iter().filter_map(first).min_by_key(|ticket| ticket.seq)
    }
}
