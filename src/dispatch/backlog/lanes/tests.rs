//! All lanes: which there are, what they may hold, and what is read for them.
use super::*;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::domain::{Seq, TenantId};

const NOW: Now = Now { wall: 1_000, steady: 1_000 };

fn backlog() -> Backlog {
    Backlog::new(&DispatchSettings::default())
}
/// A lane of that number, unordered, that leads to the endpoint of that number.
fn open(backlog: &mut Backlog, lane: u128, endpoint: EndpointId, rate: u32) {
    let lead = Lead { endpoint, tenant: TenantId::new("t") };
    backlog.open(lane_id(lane), lead, false, Ordering::None, rate);
}
/// Offers one that may go at once.
fn offer(backlog: &mut Backlog, lane: u128, n: u64) -> Offered {
    backlog.offer(pending(lane, n, None), NOW)
}
/// Everything is passed on, and what must hold holds.
fn check(backlog: &mut Backlog) {
    drop(backlog.messages());
    backlog.check();
}
/// How much the next page of a lane may have; `None`: no page is read.
fn page(backlog: &mut Backlog) -> Option<(BegunRead, usize)> {
    let begun = backlog.begin_reads(1).pop()?;
    match begun.want {
        Want::Page { limit, .. } => Some((begun, limit)),
        _ => None,
    }
}

#[test]
fn lanes_are_listed_in_order_and_in_pieces() {
    let mut backlog = backlog();
    for lane in [4, 1, 3, 2] {
        open(&mut backlog, lane, 1, 0);
    }
    let ids = |lanes: &[u128]| lanes.iter().map(|lane| lane_id(*lane)).collect::<Vec<_>>();
    assert_eq!(backlog.lanes_after(None, 9), ids(&[1, 2, 3, 4]));
    assert_eq!(backlog.lanes_after(None, 2), ids(&[1, 2]));
    assert_eq!(backlog.lanes_after(Some(lane_id(2)), 9), ids(&[3, 4]));
    assert_eq!(backlog.lanes_after(Some(lane_id(4)), 9), ids(&[]));
    assert_eq!(backlog.count(), 4);
}

#[test]
fn a_lane_is_gone_from_its_end_until_it_is_opened_again() {
    let mut backlog = backlog();
    assert!(!backlog.is_gone(lane_id(1)), "it is not known");
    open(&mut backlog, 1, 1, 0);
    assert!(!backlog.is_gone(lane_id(1)));
    backlog.close(lane_id(1), "a test", Ordering::None);
    assert!(backlog.is_gone(lane_id(1)));
    open(&mut backlog, 1, 1, 0);
    assert!(!backlog.is_gone(lane_id(1)));
    check(&mut backlog);
}

/// A subscription without a limit does not lift that of another.
#[test]
fn the_smallest_limit_of_an_endpoint_holds() {
    let mut backlog = backlog();
    assert_eq!(backlog.rate(1), None, "no lane leads there");
    for (lane, rate, smallest) in [(1, 0, 0), (2, 50, 50), (3, 20, 20), (4, 0, 20), (3, 0, 50)] {
        open(&mut backlog, lane, 1, rate);
        assert_eq!(backlog.rate(1), Some(smallest), "lane {lane}: {rate}");
    }
}

#[test]
fn a_lane_holds_four_windows_and_no_more() {
    for (proven, most) in [(false, 4 * 32), (true, 4 * 1024)] {
        let mut backlog = backlog();
        open(&mut backlog, 1, 1, 0);
        backlog.proven(1, proven);
        for n in 1..=most {
            assert_eq!(offer(&mut backlog, 1, n), Offered::Taken, "{n}");
        }
        assert_eq!(offer(&mut backlog, 1, most + 1), Offered::Left);
        assert_eq!(backlog.held() as u64, most);
        check(&mut backlog);
    }
}

/// Ready and in flight fill half of the window: the rest is read when there are less.
#[test]
fn a_lane_is_read_while_less_than_half_of_its_window_may_go() {
    for (active, limit) in [(15, Some(32)), (16, None), (17, None)] {
        let mut backlog = backlog();
        open(&mut backlog, 1, 1, 0);
        for n in 1..=active {
            offer(&mut backlog, 1, n);
        }
        backlog.mark(lane_id(1));
        assert_eq!(page(&mut backlog).map(|(_, limit)| limit), limit, "{active}");
        check(&mut backlog);
    }
}

/// Retries that wait may not go yet, and use up room.
#[test]
fn a_lane_that_is_full_of_waiting_ones_is_not_read() {
    for (waiting, limit) in [(127, Some(32)), (128, None)] {
        let mut backlog = backlog();
        open(&mut backlog, 1, 1, 0);
        for n in 1..=waiting {
            let due_ms = NOW.wall + 60_000;
            let retry = Pending { attempts: 1, due_ms, ..pending(1, n, None) };
            assert_eq!(backlog.offer(retry, NOW), Offered::Taken);
        }
        backlog.mark(lane_id(1));
        assert_eq!(page(&mut backlog).map(|(_, limit)| limit), limit, "{waiting}");
        check(&mut backlog);
    }
}

/// What a lane that is gone owes is given up page by page, the next one when less than a page waits to become durable.
#[test]
fn a_lane_that_is_gone_is_read_by_full_pages() {
    let mut backlog = backlog();
    open(&mut backlog, 1, 1, 0);
    backlog.close(lane_id(1), "a test", Ordering::None);
    let (read, limit) = page(&mut backlog).unwrap();
    assert_eq!(limit, PAGE);
    backlog.answered(&read, (1..=PAGE as u64).map(|n| pending(1, n, None)).collect(), NOW);
    assert_eq!(backlog.held(), PAGE);
    assert!(page(&mut backlog).is_none(), "as many wait as are read at once");
    backlog.settled(Ticket { lane: lane_id(1), seq: Seq::new(1, 0) }, NOW);
    assert_eq!(page(&mut backlog).map(|(_, limit)| limit), Some(PAGE));
    check(&mut backlog);
}

#[test]
fn who_asks_for_no_read_gets_none() {
    let mut backlog = backlog();
    open(&mut backlog, 1, 1, 0);
    backlog.mark(lane_id(1));
    assert!(page(&mut backlog).is_some());
    assert!(backlog.wants_reads(), "the count");
    assert_eq!(backlog.begin_reads(0), []);
    assert!(matches!(backlog.begin_reads(1)[..], [BegunRead { want: Want::Count { .. }, .. }]));
}

/// When memory is full, lanes that hold something are left alone, and those that hold nothing still get a little.
#[test]
fn a_full_memory_starves_no_lane() {
    let mut backlog = backlog();
    let (each, full) = (128, HELD as u128 / 128);
    for lane in 1..=full {
        open(&mut backlog, lane, lane as EndpointId, 0);
        for n in 1..=each {
            assert_eq!(offer(&mut backlog, lane, n), Offered::Taken);
        }
    }
    assert_eq!(backlog.held(), HELD);
    let (empty, little) = (full + 1, full + 2);
    open(&mut backlog, empty, 1_000, 0);
    assert_eq!(offer(&mut backlog, empty, 1), Offered::Left, "memory is full");
    let (read, limit) = page(&mut backlog).unwrap();
    assert_eq!((read.lane, limit), (lane_id(empty), PAGE_TIGHT));
    backlog.answered(&read, vec![pending(empty, 1, None)], NOW);
    assert_eq!(backlog.held(), HELD + 1);
    backlog.mark(lane_id(empty));
    assert!(page(&mut backlog).is_none(), "it holds one");
    open(&mut backlog, little, 1_001, 0);
    backlog.mark(lane_id(little));
    assert_eq!(page(&mut backlog).map(|(_, limit)| limit), Some(PAGE_TIGHT));
    check(&mut backlog);
}
