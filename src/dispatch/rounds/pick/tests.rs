//! The rounds: the shares of concurrency, and who waits for what.
use super::*;
use crate::dispatch::backlog::lane::tests::lane_id;
use crate::dispatch::ticket::Ticket;
use crate::domain::{Seq, TenantId};
use crate::settings::{BreakerSettings, PerEndpoint};
use std::time::Duration;

/// Endpoints of the numbers that tests name, at a time.
struct Table {
    rounds: Rounds,
    now: i64,
}

impl Table {
    fn new(concurrency: usize, endpoints: u64) -> Self {
        let breaker = BreakerSettings { failures: 1, open_for: Duration::from_secs(30) };
        let per_endpoint = PerEndpoint { concurrency: 4, rate: 0, burst: 1 };
        let settings = DispatchSettings { concurrency, per_endpoint, breaker, ..Default::default() };
        let mut rounds = Rounds::new(settings);
        for n in 1..=endpoints {
            let key = EndpointKey { tenant: TenantId::new("t"), url: format!("https://e{n}.test/") };
            assert_eq!(rounds.use_endpoint(&key), n);
        }
        Self { rounds, now: 1_000 }
    }
    fn time(&self) -> Now {
        Now { wall: self.now, steady: self.now }
    }
    fn ready(&mut self, endpoint: EndpointId, seq: u64, retry: bool) {
        let ticket = Ticket { lane: lane_id(u128::from(endpoint)), seq: Seq::new(seq, 0) };
        self.rounds.ready(endpoint, ReadyTicket { ticket, due: 0, retry });
    }
    fn next(&mut self) -> Option<Started> {
        let started = self.rounds.next(self.time());
        self.said();
        self.rounds.check();
        started
    }
    fn ended(&mut self, started: &Started, status: u16) -> EndpointVerdict {
        let outcome = Outcome { answer: Ok(status), detail: None, retry_after_ms: None, duration_us: 1 };
        self.rounds.ended(started, &outcome, self.time())
    }
    /// Everything that may start now.
    fn start(&mut self) -> Vec<Started> {
        std::iter::from_fn(|| self.next()).collect()
    }
    /// Messages that are to be passed on.
    fn said(&mut self) -> usize {
        self.rounds.messages().count()
    }
    /// So many deliveries of each endpoint arrive.
    fn prove(&mut self, endpoints: u64, times: u64) {
        for time in 1..=times {
            for endpoint in 1..=endpoints {
                self.ready(endpoint, time, false);
                let started = self.next().unwrap();
                self.ended(&started, 200);
            }
        }
    }
}

/// Of all requests a quarter is for first attempts alone; of one there is no quarter.
#[test]
fn retries_get_three_quarters() {
    for (concurrency, retries) in [(8, 6), (4, 3), (10, 7), (1, 1)] {
        let mut table = Table::new(concurrency, 12);
        table.prove(12, 1);
        for endpoint in 1..=12 {
            table.ready(endpoint, 100, true);
        }
        let flight = table.start();
        assert_eq!(flight.len(), retries, "of {concurrency}");
        // the rest is for what was never attempted
        for endpoint in 1..=12 {
            table.ready(endpoint, 200, false);
        }
        let fresh = table.start();
        assert_eq!(fresh.len(), concurrency - retries);
        assert!(fresh.iter().all(|started| !started.ready.retry));
        assert_eq!((table.rounds.sums().retries, table.rounds.sums().in_flight), (retries, concurrency));
    }
}

#[test]
fn a_retry_that_is_back_leaves_its_place_to_another() {
    let mut table = Table::new(4, 6);
    table.prove(6, 1);
    for endpoint in 1..=6 {
        table.ready(endpoint, 100, true);
    }
    let flight = table.start();
    assert_eq!(flight.len(), 3);
    for started in &flight {
        table.ended(started, 200);
        let next = table.start();
        assert!(next.len() == 1 && next[0].ready.retry, "{next:?}");
    }
}

#[test]
fn the_endpoints_that_have_not_worked_yet_get_half() {
    for (concurrency, unproven) in [(8, 4), (5, 2), (1, 1)] {
        let mut table = Table::new(concurrency, 9);
        for endpoint in 1..=9 {
            table.ready(endpoint, 1, false);
        }
        assert_eq!(table.start().len(), unproven, "of {concurrency}");
    }
}

/// An answer that was still on its way when the endpoint began to refuse: it is not left alone any longer.
#[test]
fn an_endpoint_that_answers_after_all_goes_on_at_once() {
    let mut table = Table::new(16, 1);
    table.prove(1, 2);
    for seq in 101..=104 {
        table.ready(1, seq, false);
    }
    let flight = table.start();
    assert_eq!(flight.len(), 3, "the window");
    table.ended(&flight[0], 503);
    assert!(table.next().is_none());
    let until = table.now + 30_000;
    let place = |table: &Table| table.rounds.endpoint(1).map(Endpoint::place);
    assert_eq!((place(&table), table.rounds.sums().refusing), (Some(RoundPlace::Timed(until)), 1));
    // another failure lets nobody in
    table.ended(&flight[1], 503);
    assert_eq!((table.said(), place(&table)), (0, Some(RoundPlace::Timed(until))));
    table.ended(&flight[2], 200);
    assert_eq!(table.rounds.sums().refusing, 0);
    assert!(table.next().is_some_and(|started| !started.probe));
}

/// A limiter's time comes when it comes, whatever is answered meanwhile.
#[test]
fn an_answer_does_not_end_the_wait_for_a_limit() {
    let mut table = Table::new(16, 1);
    table.prove(1, 1);
    table.rounds.set_rate(1, 1, table.time());
    table.ready(1, 101, false);
    table.ready(1, 102, false);
    let flight = table.start();
    assert_eq!(flight.len(), 1, "the burst");
    let place = |table: &Table| table.rounds.endpoint(1).map(Endpoint::place);
    assert_eq!(place(&table), Some(RoundPlace::Timed(2_000)));
    table.ended(&flight[0], 200);
    assert_eq!((table.said(), place(&table)), (0, Some(RoundPlace::Timed(2_000))));
    table.now = 2_000;
    table.rounds.timer_came(1, 2_000);
    assert!(table.next().is_some());
}

#[test]
fn an_endpoint_that_no_lane_leads_to_is_forgotten_when_nothing_is_on_its_way() {
    let mut table = Table::new(16, 2);
    assert_eq!(table.rounds.count(), 2);
    table.ready(1, 1, false);
    let flight = table.start();
    table.rounds.leave_endpoint(1);
    table.rounds.leave_endpoint(2);
    assert_eq!(table.rounds.count(), 1);
    table.ended(&flight[0], 200);
    assert_eq!((table.rounds.count(), table.rounds.sums()), (0, RoundSums::default()));
}
