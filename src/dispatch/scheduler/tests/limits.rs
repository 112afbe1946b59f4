//! What an endpoint may have, answer by answer: window, standing, breaker, rate, `max_pending`; and whose a lane is.
use super::world::{World, answer, facts, settings};
use crate::dispatch::Facts;
use crate::dispatch::backlog::lane::tests::lane_id;
use crate::dispatch::rounds::endpoint::Endpoint;
use crate::domain::{EndpointKey, Next, Ordering, Outcome, TenantId};
use crate::settings::{BreakerSettings, DispatchSettings};
use std::time::Duration;

/// The window grows by what was delivered and by nothing else; whatever else was answered also costs the standing.
#[test]
fn only_a_delivery_widens_the_window_and_proves_the_endpoint() {
    let mut world = World::with_lanes(settings(), 1);
    for _ in 0..40 {
        world.add(1, None);
    }
    let mut flight = world.start();
    for (status, window, proven) in [
        (404, 1, false),
        (410, 1, false),
        (429, 1, false),
        (200, 2, true),
        (400, 2, false),
        (302, 3, true),
        (499, 3, false),
        (500, 3, false),
        (2, 3, false),
        (204, 4, true),
        (1, 4, true),
        (0, 1, false),
        (422, 1, false),
    ] {
        world.now += 1_000;
        let job = flight.remove(0);
        world.finish(&job, status);
        flight.extend(world.start());
        let (_, endpoint) = world.scheduler.rounds.endpoints().next().unwrap();
        assert_eq!((endpoint.window(), endpoint.is_proven()), (window, proven), "after {status}");
    }
}

/// The oldest of the endpoint, not of the first of its subscriptions.
#[test]
fn too_many_cost_the_oldest_of_the_whole_endpoint() {
    for order in [[1, 1, 2, 2, 1, 2], [2, 2, 1, 1, 2, 1], [2, 1, 2, 1, 2, 1], [1, 2, 2, 1, 1, 2]] {
        let mut world = World::new(DispatchSettings { max_pending: 3, ..settings() });
        for lane in [1, 2] {
            world.scheduler.open_lane(lane_id(lane), &facts(7), world.time());
        }
        let places: Vec<u64> = order.into_iter().map(|lane| world.add(lane, None)).collect();
        assert_eq!(world.give_up(), places[..3], "{order:?}");
    }
}

/// What is done to an endpoint's lanes, and its rate afterwards.
type Change<'a> = (&'a str, &'a [(u128, &'a Facts)], u32);

/// A subscription that is changed, moved or added leaves the endpoint's limiter as it is, unless the smallest rate is another.
#[test]
fn only_another_rate_fills_the_limiter_anew() {
    let limited = Facts { rate: Some(1), ..facts(1) };
    let ordered = Facts { ordering: Some(Ordering::None), ..limited.clone() };
    let faster = Facts { rate: Some(9), ..facts(1) };
    let changes: [Change<'_>; 6] = [
        ("the same again", &[(1, &limited)], 1),
        ("another ordering", &[(1, &ordered)], 1),
        ("one more, as fast", &[(2, &limited)], 1),
        ("one more, faster", &[(2, &faster)], 1),
        ("one more, and it goes", &[(2, &limited), (2, &facts(3))], 1),
        ("another rate", &[(1, &faster)], 9),
    ];
    for (what, steps, rate) in changes {
        let mut world = World::new(settings());
        world.scheduler.open_lane(lane_id(1), &limited, world.time());
        for _ in 0..4 {
            world.add(1, None);
        }
        let jobs = world.start();
        assert_eq!(jobs.len(), 1, "the burst");
        world.finish(&jobs[0], 200);
        for (lane, facts) in steps {
            world.scheduler.open_lane(lane_id(*lane), facts, world.time());
        }
        let mut endpoints = world.scheduler.rounds.endpoints().map(|(_, endpoint)| endpoint);
        let endpoint = endpoints.find(|endpoint| *endpoint.key() == limited.endpoint);
        let limiter = endpoint.and_then(Endpoint::limiter).unwrap();
        assert_eq!(limiter.rate(), rate, "{what}");
        assert_eq!(limiter.take(world.now).is_ok(), rate != 1, "{what}: its burst is used up");
    }
}

/// `Retry-After` of a failure that the breaker takes holds for the delivery and for the endpoint's next probe.
#[test]
fn an_endpoint_is_left_alone_as_long_as_it_asks() {
    let hour = 3_600_000;
    for (asked, waits) in
        [(None, 30_000), (Some(5_000), 30_000), (Some(90_000), 90_000), (Some(u64::MAX), hour)]
    {
        let breaker = BreakerSettings { failures: 1, open_for: Duration::from_secs(30) };
        let mut world = World::with_lanes(DispatchSettings { breaker, ..settings() }, 1);
        world.add(1, Some(1));
        world.add(1, Some(2));
        let busy = |retry_after_ms| Outcome { retry_after_ms, ..answer(503) };
        let job = world.start().remove(0);
        let next = world.done_with(&job, busy(asked));
        world.settle(&job);
        let wall = world.time().wall;
        let own = i64::try_from(asked.unwrap_or(0)).unwrap_or(i64::MAX).clamp(2_000, hour);
        assert_eq!(next, Next::RetryAt(wall + own), "the delivery, {asked:?}");
        world.now = waits - 1;
        assert!(world.start().is_empty(), "{asked:?}");
        world.now = waits;
        let probe = world.start();
        assert!(probe.len() == 1 && probe[0].started.probe, "{asked:?}");
        // and a failed probe asks anew
        world.done_with(&probe[0], busy(asked));
        world.settle(&probe[0]);
        world.now = 2 * waits - 1;
        assert!(world.start().is_empty(), "{asked:?}, the second time");
        world.now = 2 * waits;
        assert_eq!(world.start().len(), 1, "{asked:?}, the second time");
    }
}

/// A subscription that is given to another tenant ends for the first one: what waits for it is not sent to the other.
#[test]
fn what_waits_is_not_sent_to_another_tenant() {
    let mut world = World::with_lanes(settings(), 1);
    let waiting: Vec<u64> = (0..300).map(|n| world.add(1, Some(n % 5))).collect();
    let flight = world.start();
    assert_eq!(flight.len(), 1);
    let elsewhere = EndpointKey { tenant: TenantId::new("another"), url: "https://e1.test/".into() };
    world.scheduler.open_lane(lane_id(1), &Facts { endpoint: elsewhere, ..facts(1) }, world.time());
    world.run_dry(200);
    assert_eq!(world.ended.len(), waiting.len() - 1);
    assert!(world.ended.iter().all(|(_, _, status)| *status == 0), "given up, not sent");
    // what was on its way has arrived or not; it is not tried again for the other
    assert!(matches!(world.finish(&flight[0], 503), Next::RetryAt(_)));
    world.run_dry(200);
    assert_eq!((world.attempts.len(), world.ended.len()), (1, waiting.len()));
    // and back
    world.scheduler.open_lane(lane_id(1), &facts(1), world.time());
    world.add(1, Some(1));
    world.run_dry(200);
    assert_eq!((world.attempts.len(), world.scheduler.held()), (2, 0));
}
