//! The scheduler over a model of the store.
use super::*;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::settings::BreakerSettings;
use std::collections::BTreeMap;
use std::time::Duration;
use world::{World, facts, settings};

mod life;
mod limits;
mod parcels;
mod races;
mod world;

#[test]
fn the_window_grows_by_success_and_falls_by_timeout() {
    let mut world = World::with_lanes(settings(), 1);
    for _ in 0..40 {
        world.add(1, None);
    }
    let mut flight = world.start();
    for expected in [1, 2, 3, 4, 4, 4] {
        assert_eq!(flight.len(), expected);
        let oldest = flight.remove(0);
        world.finish(&oldest, 200);
        flight.extend(world.start());
    }
    for (status, expected) in [(404, 4), (0, 3), (200, 2), (200, 3), (200, 4), (200, 4)] {
        let oldest = flight.remove(0);
        world.finish(&oldest, status);
        flight.extend(world.start());
        assert_eq!(flight.len(), expected, "{status}");
    }
}

#[test]
fn one_attempt_at_a_time_per_resource_and_only_after_it_is_durable() {
    let mut world = World::with_lanes(settings(), 1);
    let places: Vec<u64> = (0..10).map(|_| world.add(1, Some(7))).collect();
    let mut seen = Vec::new();
    for n in 0..10 {
        let jobs = world.start();
        assert_eq!(jobs.len(), 1);
        seen.push(jobs[0].ticket().seq.parts().0);
        world.done(&jobs[0], if n == 3 { 404 } else { 200 });
        assert!(world.start().is_empty(), "not before it is durable");
        world.settle(&jobs[0]);
    }
    assert_eq!(seen, places);
    assert!(world.start().is_empty() && world.scheduler.held() == 0);
}

#[test]
fn a_failing_delivery_holds_back_only_its_resource() {
    let mut world = World::with_lanes(settings(), 1);
    let bad = world.add(1, Some(1));
    let behind = world.add(1, Some(1));
    for n in 2..30 {
        world.add(1, Some(n));
    }
    let mut times = 0;
    while world.ended.len() < 30 {
        let jobs = world.start();
        if jobs.is_empty() {
            world.now = world.scheduler.next_wake().unwrap();
        }
        for job in jobs {
            let failing = job.ticket().seq.parts().0 == bad;
            times += usize::from(failing);
            world.finish(&job, if failing { 500 } else { 200 });
        }
    }
    assert_eq!(times, 4);
    let order: Vec<u64> = world.ended.iter().map(|(_, place, _)| *place).collect();
    assert_eq!(order[28..], [bad, behind]);
    assert_eq!(world.now, 14_000, "2 s, 4 s, 8 s");
}

#[test]
fn hanging_endpoints_hold_at_most_half_and_retries_leave_a_quarter() {
    let mut world = World::with_lanes(settings(), 40);
    for lane in 1..=39 {
        world.add(lane, None);
        world.add(lane, None);
    }
    let hanging = world.start();
    assert_eq!(hanging.len(), 8, "half of 16");
    // One works: it gets on as if the others were not there.
    let job = hanging.iter().find(|job| job.ticket().lane == lane_id(1)).unwrap();
    world.finish(job, 200);
    let next = world.start();
    assert!(next.iter().any(|job| job.ticket().lane == lane_id(1)));
    assert_eq!(next.len(), 2, "its next, and one more that is unproven");

    let mut world = World::with_lanes(settings(), 4);
    for lane in 1..=4 {
        for _ in 0..5 {
            world.add(lane, None);
        }
    }
    // all proven with a full window, then everything fails once
    for _ in 0..4 {
        for job in world.start() {
            world.finish(&job, 200);
        }
    }
    let lanes: Vec<u128> = (1..=4).collect();
    for lane in &lanes {
        for _ in 0..8 {
            world.add(*lane, None);
        }
    }
    let mut flight = world.start();
    assert_eq!(flight.len(), 16);
    for job in flight.drain(..).take(12) {
        // 5xx answered alternately with successes keeps endpoints proven and admitting
        world.finish(&job, 503);
    }
    world.now += 3_000;
    let retries = world.start().iter().filter(|job| job.started.ready.retry).count();
    assert!(retries <= 12, "{retries}");
}

#[test]
fn an_endpoint_that_is_down_is_probed_and_charges_nobody() {
    let mut world = World::with_lanes(settings(), 1);
    let places: Vec<u64> = (1..=6).map(|n| world.add(1, Some(n))).collect();
    let mut tried = Vec::new();
    // an outage of ten hours
    while world.now < 36_000_000 {
        for job in world.start() {
            tried.push((job.ticket().seq.parts().0, job.started.probe));
            assert!(matches!(world.finish(&job, 2), Next::RetryAt(_)));
        }
        world.now = world.scheduler.next_wake().unwrap();
    }
    assert_eq!(tried.iter().filter(|(_, probe)| !probe).count(), 4, "then it refuses");
    assert_eq!(world.scheduler.refusing(), 1);
    let probes: Vec<u64> = tried.iter().filter(|(_, probe)| *probe).map(|(place, _)| *place).collect();
    assert_eq!(probes.len(), 36_000 / 30 - 1);
    for place in places {
        let share = probes.iter().filter(|p| **p == place).count();
        assert!((150..=250).contains(&share), "probes rotate: {place} got {share} of {}", probes.len());
    }
    world.run_dry(200);
    assert_eq!(world.ended.len(), 6);
    assert!(world.ended.iter().all(|(_, _, status)| *status == 200), "nothing was lost");
    assert_eq!(world.scheduler.refusing(), 0);
}

#[test]
fn one_delivery_that_always_fails_does_not_block_its_endpoint() {
    let breaker = BreakerSettings { failures: 1, open_for: Duration::from_secs(30) };
    let mut world = World::with_lanes(DispatchSettings { breaker, ..settings() }, 1);
    let bad = world.add(1, Some(1));
    for n in 2..20 {
        world.add(1, Some(n));
    }
    let mut rounds = 0;
    while world.ended.len() < 18 && rounds < 1000 {
        rounds += 1;
        let jobs = world.start();
        if jobs.is_empty() {
            world.now = world.scheduler.next_wake().unwrap();
        }
        for job in jobs {
            let failing = job.ticket().seq.parts().0 == bad;
            world.finish(&job, if failing { 500 } else { 200 });
        }
    }
    assert!(rounds < 100, "{rounds} {:?}", world.ended);
}

/// Whatever the wall clocks say: the server's may be ahead of ours, and ours may be set back while we are down.
#[test]
fn clocks_that_disagree_hold_up_no_first_attempt_and_no_retry_for_ever() {
    let hour = 3_600_000;
    for (attempts, due_in, starts_after) in
        [(0, 5 * hour, 0), (1, 5 * hour, hour + hour / 10), (1, 9_000, 9_000)]
    {
        let mut world = World::with_lanes(settings(), 1);
        let due_ms = world.time().wall + due_in;
        let pending = Pending { due_ms, attempts, ..world.create(1, None) };
        world.scheduler.offer(pending, world.time());
        world.now = starts_after - 1;
        assert_eq!(world.start().len(), usize::from(starts_after == 0));
        world.now = starts_after;
        assert_eq!(world.start().len(), usize::from(starts_after > 0), "{attempts} {due_in}");
    }
}

#[test]
fn the_rate_delays_and_never_fails() {
    let mut world = World::with_lanes(settings(), 1);
    let limited = Facts { rate: Some(10), ..facts(1) };
    world.scheduler.open_lane(lane_id(1), &limited, world.time());
    // another subscription of the same endpoint with a larger rate changes nothing
    world.scheduler.open_lane(lane_id(2), &Facts { rate: Some(1000), ..facts(1) }, world.time());
    for n in 0..50 {
        world.add(1 + n % 2, None);
    }
    world.run_dry(200);
    assert_eq!(world.ended.len(), 50);
    assert!((4_900..5_100).contains(&world.now), "{}", world.now);
}

#[test]
fn a_backlog_stays_in_the_store() {
    let mut world = World::with_lanes(settings(), 2);
    for n in 0..20_000 {
        world.create(1, Some(n % 500));
    }
    world.scheduler.backlog(lane_id(1));
    world.answer_wants();
    assert!(world.scheduler.held() <= 4 * 32, "an unproven endpoint: {}", world.scheduler.held());
    let mut most = 0;
    while world.ended.len() < 20_000 {
        let jobs = world.start();
        assert!(!jobs.is_empty());
        most = most.max(world.scheduler.held());
        for job in jobs {
            world.finish(&job, 200);
        }
    }
    assert!(most <= 4 * 1024, "{most}");
    let mut last = BTreeMap::new();
    for (_, place, _) in &world.ended {
        let before = last.insert(place % 500, *place);
        assert!(before < Some(*place), "in order");
    }
    assert_eq!(world.scheduler.held(), 0);
}

#[test]
fn old_ones_are_given_up_and_so_are_too_many() {
    let few = DispatchSettings { max_pending: 10, expire_after: Duration::from_secs(3600), ..settings() };
    let mut world = World::with_lanes(few, 1);
    let mut flight = Vec::new();
    for n in 1..=14 {
        world.add(1, Some(n));
        flight.extend(world.start());
    }
    assert_eq!(flight.len(), 1);
    assert_eq!(world.give_up(), [2, 3, 4, 5], "the oldest that are not on their way");
    world.now = 3_600_000;
    assert!(world.start().is_empty());
    assert_eq!(world.give_up(), [6, 7, 8, 9, 10, 11, 12, 13, 14]);
    world.finish(&flight[0], 500);
    assert_eq!(world.give_up(), [1], "when its attempt is over");
    // by hand it lives again
    let mut retried = pending(1, 100, Some(1));
    retried.due_ms = world.time().wall;
    world.store.get_mut(&lane_id(1)).unwrap().insert(retried.seq, retried.clone());
    world.scheduler.offer(retried, world.time());
    assert_eq!(world.start().len(), 1);
}

#[test]
fn a_deleted_subscription_gives_up_everything_in_memory_or_not() {
    let mut world = World::with_lanes(settings(), 1);
    for n in 0..700 {
        world.add(1, Some(n % 3));
    }
    let flight = world.start();
    world.scheduler.close_lane(lane_id(1), "deleted", world.time());
    world.run_dry(200);
    assert_eq!(world.ended.len(), 700 - flight.len());
    world.finish(&flight[0], 200);
    assert_eq!(world.ended.last().unwrap().2, 200, "what was on its way may still arrive");
    assert!(world.store.values().all(BTreeMap::is_empty));
    // and it may come back
    world.scheduler.open_lane(lane_id(1), &facts(2), world.time());
    world.add(1, Some(1));
    world.run_dry(200);
    assert_eq!(world.ended.len(), 701);
}

#[test]
fn a_stale_offer_is_never_sent_again() {
    let mut world = World::with_lanes(settings(), 1);
    let early: Vec<Pending> = (0..3).map(|_| world.create(1, Some(1))).collect();
    world.scheduler.backlog(lane_id(1));
    world.run_dry(200);
    for pending in early {
        world.scheduler.offer(pending, world.time());
    }
    // followers beyond memory are read by key, before their offer comes
    for _ in 0..5 {
        world.add(1, Some(1));
    }
    let later = world.create(1, Some(1));
    let other = world.create(1, Some(2));
    world.run_dry(200);
    world.scheduler.offer(later, world.time());
    world.scheduler.offer(other, world.time());
    world.run_dry(200);
    assert_eq!(world.attempts.len(), 10);
    assert_eq!(world.scheduler.held(), 0);
}

#[test]
fn many_endpoints() {
    let large = DispatchSettings { concurrency: 512, ..settings() };
    let mut world = World::with_lanes(large, 5_000);
    for lane in 1..=5_000 {
        world.add(lane, Some(1));
        world.add(lane, Some(1));
    }
    world.run_dry(200);
    assert_eq!(world.ended.len(), 10_000);
    assert_eq!(world.scheduler.held(), 0);
}

#[test]
fn the_lanes_are_known_until_they_are_gone_and_after() {
    let mut world = World::with_lanes(settings(), 3);
    let lanes = [lane_id(1), lane_id(2), lane_id(3)];
    assert_eq!(world.scheduler.lanes_after(None, 9), lanes);
    assert_eq!(world.scheduler.lanes_after(Some(lanes[0]), 1), lanes[1..2]);
    assert!(lanes.iter().all(|lane| !world.scheduler.is_gone(*lane)));
    world.scheduler.close_lane(lanes[1], "a test", world.time());
    let gone: Vec<bool> = lanes.iter().map(|lane| world.scheduler.is_gone(*lane)).collect();
    assert_eq!(gone, [false, true, false]);
    assert_eq!(world.scheduler.lanes_after(None, 9), lanes);
}
