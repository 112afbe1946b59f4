//! One lane: what becomes of a delivery, and what is said of it.
use super::*;
use crate::dispatch::backlog::waits::Waits;
use crate::dispatch::now::Now;
use crate::domain::{BodyPlace, DeliveryId, DeliveryKey, EventId};
use crate::settings::DispatchSettings;
use uuid::Uuid;

pub(crate) fn lane_id(n: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(n))
}
pub(crate) fn pending(lane: u128, n: u64, order: Option<u64>) -> Pending {
    Pending {
        key: DeliveryKey {
            tenant: TenantId::new("t"),
            id: DeliveryId(Uuid::from_u128(lane << 64 | u128::from(n))),
        },
        event_id: EventId(Uuid::nil()),
        place: BodyPlace::default(),
        subscription: lane_id(lane),
        order,
        seq: Seq::new(n, 0),
        due_ms: 0,
        counted_attempts: 0,
        attempts: 0,
        created_us: 0,
    }
}

/// A lane that leads to an endpoint, at a time.
struct Bench {
    lane: Lane,
    at: Moment,
    said: Vec<OwnerMessage>,
    number: u64,
}

impl Bench {
    fn new(ordering: Ordering) -> Self {
        let at = Waits::new(&DispatchSettings::default()).at(Now { wall: 0, steady: 0 });
        let mut bench = Self { lane: Lane::new(lane_id(1), ordering), at, said: Vec::new(), number: 0 };
        bench.open(ordering);
        bench
    }
    fn open(&mut self, ordering: Ordering) {
        let lead = Lead { endpoint: 1, tenant: TenantId::new("t") };
        self.lane.open(lead, ordering, 0, &mut self.said);
    }
    /// Where it stands then; `None`: it was left in the store.
    fn offer(&mut self, n: u64, order: u64) -> Option<TicketState> {
        self.lane.offer(pending(1, n, Some(order)), true, self.at, &mut self.said);
        self.lane.check();
        self.state(n)
    }
    fn state(&self, n: u64) -> Option<TicketState> {
        self.lane.items.get(Seq::new(n, 0)).map(|item| item.state)
    }
    /// Answers its next read.
    fn answer(&mut self, found: Vec<Pending>) {
        self.number += 1;
        let room = self.lane.progress.has_more().then_some(32);
        let want = self.lane.begin_read(self.number, room).unwrap();
        self.lane.answered((self.number, want), found, self.at, &mut self.said);
        self.lane.check();
    }
    /// Ends it; gives the order keys whose first it wants then.
    fn end(&mut self, n: u64) -> Vec<u64> {
        self.lane.begin(Seq::new(n, 0), &mut self.said);
        self.lane.ended(Seq::new(n, 0), AttemptEnd { counted: true, retry: None }, &mut self.said);
        self.lane.settled(Seq::new(n, 0), self.at, &mut self.said);
        self.lane.check();
        self.lane.reads.firsts().into_iter().collect()
    }
}

const READY: Option<TicketState> = Some(TicketState::Ready(0));
const QUEUED: Option<TicketState> = Some(TicketState::Queued);

#[test]
fn one_of_a_resource_at_a_time_and_the_rest_is_left_in_the_store() {
    let mut bench = Bench::new(Ordering::Resource);
    for (n, order, expected) in [
        (1, 7, READY),
        (2, 7, QUEUED),
        (3, 8, READY),
        (6, 7, QUEUED),
        (7, 7, QUEUED),
        (8, 7, None),
        (9, 7, None),
        (1, 7, READY),
    ] {
        assert_eq!(bench.offer(n, order), expected, "{n}");
    }
    assert_eq!((bench.end(1), bench.state(2)), (vec![], READY));
    // once something was left, nothing later may overtake it
    assert_eq!(bench.offer(10, 7), None);
    assert_eq!((bench.end(2), bench.end(6), bench.end(7)), (vec![], vec![], vec![7]), "the store is asked");
    assert_eq!(bench.offer(11, 7), None, "while it is being read");
    bench.answer(vec![pending(1, 8, Some(7))]);
    assert_eq!((bench.state(8), bench.end(8)), (READY, vec![7]), "and again after that one");
    bench.answer(Vec::new());
    assert_eq!(bench.offer(12, 7), READY, "all of it was read");
}

#[test]
fn orderings() {
    for (ordering, heads) in [(Ordering::Resource, 3), (Ordering::Endpoint, 1), (Ordering::None, 99)] {
        let mut bench = Bench::new(ordering);
        let ready = (1..100).filter(|n| bench.offer(*n, n % 3) == READY).count();
        assert_eq!(ready, heads, "{ordering:?}");
    }
}

#[test]
fn a_follower_that_is_given_up_does_not_free_its_key() {
    let mut bench = Bench::new(Ordering::Resource);
    for n in 1..=3 {
        bench.offer(n, 7);
    }
    bench.lane.give_up(Seq::new(2, 0), "a test", &mut bench.said);
    bench.lane.settled(Seq::new(2, 0), bench.at, &mut bench.said);
    assert_eq!(bench.state(3), QUEUED);
    assert_eq!((bench.end(1), bench.state(3)), (vec![], READY));
}

#[test]
fn a_reset_keeps_what_is_under_way_in_its_place() {
    let mut bench = Bench::new(Ordering::None);
    for n in 1..=4 {
        bench.offer(n, 7);
    }
    for n in [2, 3] {
        bench.lane.begin(Seq::new(n, 0), &mut bench.said);
    }
    bench.open(Ordering::Resource);
    assert_eq!((bench.lane.items.len(), bench.lane.items.active()), (2, 2));
    assert!(bench.lane.progress.has_more() && bench.lane.progress.cursor().is_none());
    bench.answer(vec![pending(1, 1, Some(7))]);
    assert_eq!(bench.state(1), QUEUED, "two of its key are on their way");
    // both fail: they go on one by one
    for n in [3, 2] {
        bench.lane.ended(Seq::new(n, 0), AttemptEnd { counted: true, retry: Some((0, 0)) }, &mut bench.said);
        bench.lane.settled(Seq::new(n, 0), bench.at, &mut bench.said);
        bench.lane.check();
    }
    assert_eq!((bench.state(2), bench.state(3)), (READY, QUEUED));
    assert_eq!((bench.end(2), bench.state(3)), (vec![], READY));
    assert_eq!((bench.end(3), bench.state(1)), (vec![], READY));
}

/// Endpoint and timers hear of each delivery once, and nothing remains.
#[test]
fn whatever_is_said_is_taken_back() {
    let mut bench = Bench::new(Ordering::None);
    for n in 1..=3 {
        bench.offer(n, 7);
    }
    bench.lane.give_up(Seq::new(1, 0), "a test", &mut bench.said);
    bench.end(2);
    bench.lane.close("a test", &mut bench.said);
    let count = |wanted: fn(&OwnerMessage) -> bool| bench.said.iter().filter(|said| wanted(said)).count();
    assert_eq!(count(|said| matches!(said, OwnerMessage::Ready(..))), 3);
    assert_eq!(count(|said| matches!(said, OwnerMessage::Unready(..))), 2, "one was taken");
    assert_eq!(count(|said| matches!(said, OwnerMessage::Set(..))), 3);
    assert_eq!(count(|said| matches!(said, OwnerMessage::Cancel(..))), 3);
    assert_eq!(count(|said| matches!(said, OwnerMessage::GiveUp(_))), 1);
}

#[test]
fn a_lane_is_gone_until_it_is_opened_again() {
    let mut bench = Bench::new(Ordering::Resource);
    assert!(!bench.lane.is_gone());
    bench.lane.close("a test", &mut bench.said);
    assert!(bench.lane.is_gone());
    bench.open(Ordering::Resource);
    assert!(!bench.lane.is_gone());
}

/// A lane whose delivery 9 was read out of turn, before it was offered; all else has ended.
fn read_out_of_turn() -> Bench {
    let mut bench = Bench::new(Ordering::Resource);
    for n in 1..=5 {
        bench.offer(n, 7);
    }
    for n in 1..=4 {
        bench.end(n);
    }
    bench.answer(vec![pending(1, 5, Some(7))]);
    assert_eq!(bench.end(5), [7]);
    bench.answer(vec![pending(1, 9, Some(7))]);
    assert_eq!((bench.state(9), bench.lane.owed.count()), (READY, 0));
    bench
}

/// Its offer comes late: it is owed if it is not over by then, and it is not taken in again.
#[test]
fn what_was_read_out_of_turn_is_owed_from_its_offer_on_unless_it_is_over() {
    for (ended, durable, owed) in [(false, false, 1), (true, false, 0), (true, true, 0)] {
        let mut bench = read_out_of_turn();
        if durable {
            bench.end(9);
        } else if ended {
            bench.lane.begin(Seq::new(9, 0), &mut bench.said);
            let end = AttemptEnd { counted: true, retry: None };
            bench.lane.ended(Seq::new(9, 0), end, &mut bench.said);
        }
        let before = bench.state(9);
        assert_eq!(bench.offer(9, 7), before, "ended: {ended}, durable: {durable}");
        assert_eq!(bench.lane.owed.count(), owed, "ended: {ended}, durable: {durable}");
    }
}

/// The store may be ahead of the feed: what a page has is owed, unless it is over and only the store does not know yet.
#[test]
fn what_a_page_has_is_owed_unless_it_is_over() {
    let mut bench = Bench::new(Ordering::Resource);
    bench.lane.offer(pending(1, 1, Some(7)), false, bench.at, &mut bench.said);
    assert_eq!((bench.state(1), bench.lane.owed.count()), (None, 1), "there was no room for it");
    bench.answer(vec![pending(1, 1, Some(7)), pending(1, 2, Some(8))]);
    assert_eq!((bench.state(1), bench.state(2), bench.lane.owed.count()), (READY, READY, 2));

    let mut bench = read_out_of_turn();
    bench.lane.begin(Seq::new(9, 0), &mut bench.said);
    bench.lane.ended(Seq::new(9, 0), AttemptEnd { counted: true, retry: None }, &mut bench.said);
    bench.lane.progress.set_more(true);
    bench.answer(vec![pending(1, 9, Some(7))]);
    assert_eq!((bench.state(9), bench.lane.owed.count()), (Some(TicketState::Settling(Ending::Final)), 0));
}

#[test]
fn a_full_page_of_the_count_is_not_its_end() {
    let mut bench = Bench::new(Ordering::Resource);
    assert!(bench.lane.has_backlog());
    for (number, after, page, goes_on) in [(1, None, vec![1, 2], true), (2, Some(2), vec![3], false)] {
        let want = bench.lane.begin_count(number, 2);
        assert_eq!(want, Want::Count { after: after.map(|n| Seq::new(n, 0)), limit: 2 });
        let found = page.into_iter().map(|n| pending(1, n, None)).collect();
        assert_eq!(bench.lane.answered((number, want), found, bench.at, &mut bench.said), goes_on);
    }
    assert_eq!(bench.lane.owed.count(), 3);
}
