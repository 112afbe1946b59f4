//! Orders of one lane.
use super::*;
use crate::domain::SubscriptionId;
use crate::domain::{DeliveryId, DeliveryKey, EventId, EventPlace, TenantId};
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
        place: EventPlace::default(),
        subscription: lane_id(lane),
        order,
        seq: (n, 0),
        due_ms: 0,
        counted_attempts: 0,
        attempts: 0,
        created_us: 0,
    }
}
fn lane(ordering: Ordering) -> Lane {
    Lane::new(None, ordering, 0)
}

#[test]
fn one_of_a_resource_at_a_time_and_the_rest_is_left_in_the_store() {
    use Admission::{Follower, Head, Left};
    let mut lane = lane(Ordering::Resource);
    for (n, order, expected) in [
        (1, Some(7), Head),
        (2, Some(7), Follower),
        (3, Some(8), Head),
        (4, None, Head),
        (5, None, Head),
        (6, Some(7), Follower),
        (7, Some(7), Follower),
        (8, Some(7), Left),
        (9, Some(7), Left),
        (1, Some(7), Left),
    ] {
        assert_eq!(lane.admit(pending(1, n, order), 0), expected, "{n}");
    }
    assert_eq!(lane.remove((1, 0)).1, Successor::Next((2, 0)));
    // once something was left, nothing later may overtake it
    assert_eq!(lane.admit(pending(1, 10, Some(7)), 0), Left);
    for n in [2, 6] {
        assert!(matches!(lane.remove((n, 0)).1, Successor::Next(_)));
    }
    assert_eq!(lane.remove((7, 0)).1, Successor::Read(7));
    assert_eq!(lane.admit(pending(1, 11, Some(7)), 0), Left, "while it is being read");
    let first = pending(1, 8, Some(7));
    assert!(lane.wants_first(7, Some(&first)));
    assert_eq!(lane.admit(first, 0), Head);
    lane.expect_more(7, (8, 0));
    assert_eq!(lane.remove((8, 0)).1, Successor::Read(7));
    assert!(!lane.wants_first(7, None));
    assert_eq!(lane.admit(pending(1, 12, Some(7)), 0), Head, "all of it was read");
    for n in [3, 4, 5] {
        assert_eq!(lane.remove((n, 0)).1, Successor::Nobody);
    }
}

#[test]
fn orderings() {
    let heads = |ordering| {
        let mut lane = lane(ordering);
        (1..100).filter(|n| lane.admit(pending(1, *n, Some(n % 3)), 0) == Admission::Head).count()
    };
    assert_eq!((heads(Ordering::Resource), heads(Ordering::Endpoint), heads(Ordering::None)), (3, 1, 99));
}

#[test]
fn a_follower_that_is_given_up_does_not_free_its_key() {
    let mut lane = lane(Ordering::Resource);
    for n in 1..=3 {
        lane.admit(pending(1, n, Some(7)), 0);
    }
    lane.items.get_mut(&(1, 0)).unwrap().state = TicketState::InFlight;
    assert_eq!(lane.remove((2, 0)).1, Successor::Nobody);
    assert_eq!(lane.remove((1, 0)).1, Successor::Next((3, 0)));
}

#[test]
fn a_reset_keeps_what_is_under_way_in_its_place() {
    let mut lane = lane(Ordering::None);
    for n in 1..=4 {
        lane.admit(pending(1, n, Some(7)), 0);
    }
    lane.items.get_mut(&(2, 0)).unwrap().state = TicketState::InFlight;
    assert_eq!(lane.reset(Ordering::Resource).len(), 3);
    assert!(lane.more && lane.cursor.is_none());
    assert_eq!(lane.admit(pending(1, 1, Some(7)), 0), Admission::Follower);
    assert_eq!(lane.remove((2, 0)).1, Successor::Next((1, 0)));
}

#[test]
fn what_is_owed_is_counted_once() {
    let mut owed = Owed::default();
    assert!(owed.saw((1, 0)) && !owed.saw((1, 0)) && owed.saw((2, 0)));
    assert!(!owed.ended((3, 0)) && owed.ended((1, 0)));
    owed.scanning = true;
    assert!(!owed.saw((9, 0)));
    assert_eq!(owed.count, 1);
}
