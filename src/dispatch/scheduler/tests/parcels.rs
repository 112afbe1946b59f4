//! A parcel of two: one attempt, one outcome, and both are settled by it. Nobody composes one yet but this test.
use super::world::{World, facts, settings};
use crate::dispatch::backlog::lane::tests::lane_id;
use crate::dispatch::{Facts, Job, Ticket};
use crate::domain::{Next, Ordering, Seq};

/// Of three that are ready the first two in one parcel; the third is on its way alone or not at all.
fn two(world: &mut World) -> Job {
    for n in 1..=3 {
        world.add(1, Some(n));
    }
    let job = world.start().remove(0);
    let second = Ticket { lane: lane_id(1), seq: Seq::new(2, 0) };
    let parcel = world.scheduler.backlog.join(&job.parcel, second);
    world.scheduler.pass_on();
    assert_eq!((job.parcel.count(), parcel.count()), (1, 2));
    Job { parcel, ..job }
}

#[test]
fn one_outcome_settles_both() {
    let mut world = World::with_lanes(settings(), 1);
    let job = two(&mut world);
    world.scheduler.check();
    assert_eq!((world.scheduler.in_flight(), world.scheduler.held()), (1, 3), "one request");
    assert!(world.start().is_empty(), "it has the window");
    assert_eq!(world.done(&job, 200), Next::Delivered);
    assert_eq!(world.scheduler.held(), 3, "not before it is durable");
    world.settle(&job);
    assert_eq!((world.scheduler.in_flight(), world.scheduler.held()), (0, 1));
    world.run_dry(200);
    assert_eq!(world.attempts, [(lane_id(1), 1), (lane_id(1), 3)]);
    assert_eq!(world.ended.iter().map(|(_, place, _)| *place).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn one_failure_holds_back_both_and_counts_for_both() {
    let mut world = World::with_lanes(settings(), 1);
    let job = two(&mut world);
    let behind = [world.add(1, Some(1)), world.add(1, Some(2))];
    let done = world.done(&job, 503);
    assert!(matches!(done, Next::RetryAt(_)));
    world.settle(&job);
    world.scheduler.check();
    let started: Vec<u64> = world.start().iter().map(|job| job.ticket().seq.parts().0).collect();
    assert_eq!(started, [3], "nothing of the two resources overtakes");
    for lane in world.store.values() {
        let counted = |seq: u64| lane[&Seq::new(seq, 0)].counted_attempts;
        assert_eq!((counted(1), counted(2), counted(behind[0]), counted(behind[1])), (1, 1, 0, 0));
    }
}

#[test]
fn a_parcel_that_is_put_back_comes_apart() {
    let mut world = World::with_lanes(settings(), 1);
    let job = two(&mut world);
    world.scheduler.put_back(&job, world.time());
    world.scheduler.check();
    world.attempts.clear();
    world.run_dry(200);
    assert_eq!(world.attempts.len(), 3);
    // and one whose subscription is gone meanwhile is given up, both of it
    let mut world = World::with_lanes(settings(), 1);
    let job = two(&mut world);
    world.scheduler.close_lane(lane_id(1), "deleted", world.time());
    world.scheduler.put_back(&job, world.time());
    world.scheduler.check();
    world.run_dry(200);
    let mut given_up: Vec<u64> = world.ended.iter().map(|(_, place, _)| *place).collect();
    given_up.sort_unstable();
    assert_eq!(given_up, [1, 2, 3]);
    let reopened = Facts { ordering: Some(Ordering::None), ..facts(1) };
    world.scheduler.open_lane(lane_id(1), &reopened, world.time());
    world.run_dry(200);
    assert_eq!(world.scheduler.held(), 0);
}
