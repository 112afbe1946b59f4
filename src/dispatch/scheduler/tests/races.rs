//! What the store answers is as old as the read: what happens between the two is neither brought back nor lost, and goes in order.
use super::world::{World, facts, settings};
use crate::dispatch::backlog::lane::tests::lane_id;
use crate::dispatch::{BegunRead, Facts, Offered, Want};
use crate::domain::{Ordering, Pending, Seq, SubscriptionId};
use crate::settings::DispatchSettings;
use std::time::Duration;

const ONE: u128 = 1;

fn open(world: &mut World, ordering: Ordering) {
    let facts = Facts { ordering: Some(ordering), ..facts(1) };
    world.scheduler.open_lane(lane_id(ONE), &facts, world.time());
}
fn is_page(read: &(BegunRead, Vec<Pending>)) -> bool {
    matches!(read.0.want, Want::Page { .. })
}
fn places(world: &World) -> Vec<u64> {
    world.attempts.iter().map(|(_, place)| *place).collect()
}
fn owed(world: &World, lane: SubscriptionId) -> (u64, usize) {
    let mut lanes = world.scheduler.backlog.lanes();
    let counted = lanes.find(|of| of.items().ticket(Seq::new(0, 0)).lane == lane).unwrap().owed().count();
    (counted, world.store[&lane].len())
}

#[test]
fn a_late_page_does_not_bring_back_what_has_ended() {
    let mut world = World::with_lanes(settings(), 1);
    world.add(ONE, Some(1));
    let flight = world.start();
    // ordered anew: everything is read again, what is on its way too
    open(&mut world, Ordering::None);
    let page = world.begin();
    assert!(is_page(&page) && page.1.len() == 1);
    world.finish(&flight[0], 200);
    world.answer(page);
    world.run_dry(200);
    assert_eq!(places(&world), [1]);
    assert_eq!(owed(&world, lane_id(ONE)), (0, 0));
}

#[test]
fn what_is_offered_while_a_page_is_read_is_read_later() {
    let mut world = World::with_lanes(settings(), 1);
    world.create(ONE, Some(1));
    world.scheduler.backlog(lane_id(ONE));
    let page = world.begin();
    let late = world.create(ONE, Some(2));
    assert_eq!(world.scheduler.offer(late, world.time()), Offered::Left, "it must not overtake the page");
    world.answer(page);
    world.run_dry(200);
    assert_eq!(places(&world), [1, 2]);
}

/// The feed loses what comes while a page is read: the page must not be taken for the end.
#[test]
fn what_is_lost_while_a_page_is_read_is_read_later() {
    for all in [false, true] {
        let mut world = World::with_lanes(settings(), 1);
        world.create(ONE, Some(1));
        world.scheduler.backlog(lane_id(ONE));
        let page = world.begin();
        world.create(ONE, Some(2));
        if all {
            world.scheduler.backlog_of_all();
        } else {
            world.scheduler.backlog(lane_id(ONE));
        }
        world.answer(page);
        world.run_dry(200);
        assert_eq!(places(&world), [1, 2]);
        assert_eq!(owed(&world, lane_id(ONE)), (0, 0));
    }
}

/// Which lanes have something is read too, and that takes its time: no offer may overtake what was lost meanwhile.
#[test]
fn what_the_feed_has_lost_is_not_overtaken() {
    let mut world = World::with_lanes(settings(), 1);
    world.create(ONE, Some(1));
    world.scheduler.backlog_of_all();
    world.add(ONE, Some(1));
    world.run_dry(200);
    assert_eq!(places(&world), [1, 2]);
}

/// A page that began after what was in memory, and the lane is ordered anew, closed and opened, or given away and back: it is read from
/// its beginning.
#[test]
fn a_lane_that_begins_anew_makes_its_page_void() {
    for how in 0..3 {
        let mut world = World::with_lanes(settings(), 1);
        for n in 0..50 {
            world.create(ONE, Some(n));
        }
        world.scheduler.backlog(lane_id(ONE));
        let first = world.begin();
        world.answer(first);
        // room for the next page
        let mut page = None;
        while page.is_none() {
            for job in world.start_unread() {
                world.finish(&job, 200);
            }
            page = world.scheduler.begin_reads(1).pop();
        }
        let page = page.map(|read| (read, world.look(&read))).unwrap();
        assert!(is_page(&page) && page.1[0].seq > Seq::new(32, 0));
        match how {
            0 => open(&mut world, Ordering::None),
            1 => world.scheduler.close_lane(lane_id(ONE), "a test", world.time()),
            _ => {
                let mut elsewhere = facts(1);
                elsewhere.endpoint.tenant = crate::domain::TenantId::new("another");
                world.scheduler.open_lane(lane_id(ONE), &elsewhere, world.time());
            }
        }
        world.scheduler.open_lane(lane_id(ONE), &facts(1), world.time());
        world.answer(page);
        world.run_dry(200);
        assert_eq!(world.ended.len(), 50, "{how}");
        assert!(world.ended.iter().all(|(_, _, status)| *status == 200), "{how}");
        let mut attempts = places(&world);
        attempts.sort_unstable();
        assert_eq!(attempts, (1..=50).collect::<Vec<u64>>(), "{how}: each once");
    }
}

/// A lane that is moved to another endpoint keeps its page.
#[test]
fn a_page_goes_where_its_lane_leads() {
    let mut world = World::with_lanes(settings(), 1);
    world.create(ONE, Some(1));
    world.scheduler.backlog(lane_id(ONE));
    let page = world.begin();
    world.scheduler.open_lane(lane_id(ONE), &facts(9), world.time());
    world.answer(page);
    let jobs = world.start_unread();
    let url = &world.scheduler.rounds.key(jobs[0].started.endpoint).unwrap().url;
    assert_eq!(url, "https://e9.test/");
}

/// Fills memory with an order key, so that its first must be read; the read is under way.
fn first_under_way(world: &mut World, known: u64) -> (BegunRead, Vec<Pending>) {
    for _ in 0..known {
        world.add(ONE, Some(7));
    }
    loop {
        for job in world.start_unread() {
            world.finish(&job, 200);
        }
        if world.scheduler.wants_reads() {
            let first = world.begin();
            assert!(matches!(first.0.want, Want::First { .. }));
            if first.1.is_empty() {
                return first;
            }
            world.answer(first);
        }
    }
}

#[test]
fn what_is_offered_while_the_first_of_its_key_is_read_is_read_later() {
    let mut world = World::with_lanes(settings(), 1);
    let none = first_under_way(&mut world, 5);
    world.add(ONE, Some(7));
    world.answer(none);
    world.run_dry(200);
    assert_eq!(places(&world), [1, 2, 3, 4, 5, 6]);
}

/// Given up by a page since the read of its key began: the answer has it, and it has ended.
#[test]
fn a_late_first_does_not_bring_back_what_has_ended() {
    let expiring = DispatchSettings { expire_after: Duration::from_secs(60), ..settings() };
    let mut world = World::with_lanes(expiring, 1);
    let none = first_under_way(&mut world, 5);
    // the next of its key: the lane has more than was offered
    world.create(ONE, Some(7));
    world.scheduler.backlog(lane_id(ONE));
    let page = world.begin();
    assert!(is_page(&page));
    world.scheduler.not_read(&none.0);
    let first = world.begin();
    assert_eq!((first.0.want, first.1.len()), (Want::First { order: 7 }, 1));
    world.now += 60_000;
    world.answer(page);
    assert_eq!(world.give_up(), [6]);
    world.answer(first);
    assert_eq!(world.give_up(), Vec::<u64>::new());
    world.add(ONE, Some(7));
    world.run_dry(200);
    assert_eq!(places(&world), [1, 2, 3, 4, 5, 7]);
}

/// The first of a key was read and sent while a page was read that has it too.
#[test]
fn a_late_page_does_not_bring_back_what_was_read_out_of_turn() {
    let mut world = World::with_lanes(settings(), 1);
    let none = first_under_way(&mut world, 5);
    world.create(ONE, Some(7));
    world.scheduler.backlog(lane_id(ONE));
    let page = world.begin();
    world.scheduler.not_read(&none.0);
    let first = world.begin();
    world.answer(first);
    let jobs = world.start_unread();
    world.finish(&jobs[0], 200);
    world.answer(page);
    world.run_dry(200);
    assert_eq!(places(&world), [1, 2, 3, 4, 5, 6]);
    assert_eq!(owed(&world, lane_id(ONE)), (0, 0));
}

/// While a page of the count is read one ends, one comes, one comes and ends, and one is lost by the feed.
#[test]
fn what_is_owed_is_counted_once_whatever_happens_meanwhile() {
    for lost in [false, true] {
        let mut world = World::with_lanes(settings(), 1);
        for n in 0..20 {
            world.create(ONE, Some(n));
        }
        world.scheduler.backlog(lane_id(ONE));
        let page = world.begin();
        world.answer(page);
        let flight = world.start_unread();
        let count = world.begin();
        assert!(matches!(count.0.want, Want::Count { .. }), "{count:?}");
        world.finish(&flight[0], 200);
        world.add(ONE, Some(30));
        if lost {
            world.create(ONE, Some(31));
            world.scheduler.backlog(lane_id(ONE));
        }
        let after = world.start_unread();
        world.finish(&after[0], 200);
        world.answer(count);
        world.answer_wants();
        let (counted, there) = owed(&world, lane_id(ONE));
        assert_eq!(counted, there as u64, "lost: {lost}");
        world.finish(&after[1], 200);
        world.run_dry(200);
        assert_eq!(owed(&world, lane_id(ONE)), (0, 0), "lost: {lost}");
    }
}

#[test]
fn a_lane_that_wants_much_keeps_no_other_waiting() {
    let mut world = World::with_lanes(settings(), 2);
    for n in 0..20 {
        for _ in 0..5 {
            world.add(ONE, Some(n));
        }
    }
    world.scheduler.open_lane(lane_id(ONE), &facts(1), world.time());
    // all that is in memory ends, and each key wants its first
    loop {
        let jobs = world.start_unread();
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            world.finish(&job, 200);
        }
    }
    world.scheduler.backlog(lane_id(2));
    let begun = world.scheduler.begin_reads(2);
    let lanes: Vec<SubscriptionId> = begun.iter().map(|read| read.lane).collect();
    assert_eq!(lanes, [lane_id(1), lane_id(2)]);
    assert_eq!(world.scheduler.begin_reads(100).len(), 19, "each key once, and no second page");
    let count = world.scheduler.begin_reads(9);
    assert!(matches!(count[..], [BegunRead { want: Want::Count { .. }, .. }]), "{count:?}");
    assert!(!world.scheduler.wants_reads());
}

/// A lane whose keys want their firsts without end is still read on.
#[test]
fn firsts_and_pages_of_a_lane_take_turns() {
    let mut world = World::with_lanes(settings(), 1);
    for n in 0..10 {
        for _ in 0..5 {
            world.add(ONE, Some(n));
        }
    }
    loop {
        let jobs = world.start_unread();
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            world.finish(&job, 200);
        }
    }
    world.scheduler.backlog(lane_id(ONE));
    let begun = world.scheduler.begin_reads(2);
    assert!(begun.iter().any(|read| matches!(read.want, Want::Page { .. })), "{begun:?}");
}

/// While a page of the count is read another delivery comes and ends: it is not owed, whether the page has it or not.
#[test]
fn what_comes_and_ends_while_the_count_is_read_is_not_owed() {
    let mut world = World::with_lanes(settings(), 1);
    world.create(ONE, Some(1));
    world.scheduler.backlog(lane_id(ONE));
    let page = world.begin();
    world.answer(page);
    let flight = world.start_unread();
    let count = world.begin();
    assert!(matches!(count.0.want, Want::Count { .. }), "{count:?}");
    world.finish(&flight[0], 200);
    world.add(ONE, Some(2));
    let late = world.start_unread();
    assert_eq!(late[0].ticket().seq, Seq::new(2, 0));
    world.finish(&late[0], 200);
    world.answer(count);
    assert_eq!(owed(&world, lane_id(ONE)), (0, 0));
}
