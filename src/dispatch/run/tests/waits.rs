//! How long the loop waits, and what its stop lets end. The clock is paused once the store is open.
use super::steps::{fresh, listed};
use super::*;
use crate::dispatch::backlog::lane::tests::lane_id;

/// How long it waits if nothing happens but timers.
async fn waited(dispatch: &mut steps::Loop) -> Duration {
    let before = Instant::now();
    assert_eq!(dispatch.wait(false).await, Ok(true));
    before.elapsed()
}
/// Timers come to the millisecond.
fn is_about(waited: Duration, expected: Duration) -> bool {
    waited >= expected && waited <= expected + Duration::from_millis(1)
}

#[tokio::test]
async fn who_has_nothing_to_do_looks_again_after_a_while() {
    let (_house, mut dispatch) = listed().await;
    tokio::time::pause();
    let idle = waited(&mut dispatch).await;
    assert!(is_about(idle, DRAIN), "{idle:?}");
}

#[tokio::test]
async fn a_retry_wakes_the_loop_when_it_is_due() {
    let (_house, mut dispatch) = listed().await;
    dispatch.refresh_lane(lane_id(1));
    tokio::time::pause();
    let now = dispatch.now();
    let retry = Pending { attempts: 1, due_ms: now.wall + 2_000, ..fresh(1, "t") };
    dispatch.scheduler.offer(retry, now);
    let due = waited(&mut dispatch).await;
    assert!(is_about(due, Duration::from_secs(2)), "{due:?}");
    dispatch.start();
    assert_eq!(dispatch.attempts.len(), 1);
}

#[tokio::test]
async fn outcomes_that_the_store_does_not_take_are_tried_again_after_a_second() {
    let (house, mut dispatch) = listed().await;
    house.full.store(true, Ordering::SeqCst);
    dispatch.block().await;
    tokio::time::pause();
    let again = Instant::now() + AGAIN;
    let blocked = waited(&mut dispatch).await;
    assert!(is_about(blocked, AGAIN), "{blocked:?}");
    assert_eq!(dispatch.again, Some(again));
    dispatch.begin_reads();
    assert!(!dispatch.ledger.is_blocked());
}

/// A routing comes with every batch: only another set of subscriptions is a reason to look at all lanes.
#[tokio::test]
async fn lanes_are_reviewed_when_a_subscription_has_changed() {
    let (mut house, mut dispatch) = listed().await;
    let look = |dispatch: &mut steps::Loop| {
        dispatch.routing_changed();
        std::mem::take(&mut dispatch.review)
    };
    house.emit(1, "a").await;
    assert_eq!(look(&mut dispatch), Review::Done);
    house.subscribe(2, KEY, true).await;
    assert_eq!(look(&mut dispatch), Review::After(None));
    house.emit(1, "a").await;
    assert_eq!(look(&mut dispatch), Review::Done, "it was seen");
}

#[tokio::test]
async fn the_stop_lets_attempts_end_and_makes_their_outcomes_durable() {
    let (mut house, mut dispatch) = listed().await;
    dispatch.list_lanes = true;
    let key = house.emit(1, "a").await;
    dispatch.turn_until(|dispatch| !dispatch.attempts.is_empty()).await;
    assert!(house.seen().is_empty(), "it has just begun");
    dispatch.drain().await.unwrap();
    assert_eq!(house.delivery(&key).status, DeliveryStatus::Delivered);
}

/// What hangs is cut off: whoever opens the store next makes it again, and it is not still being sent then.
#[tokio::test]
async fn the_stop_cuts_off_what_does_not_end() {
    let (mut house, _) = listed().await;
    house.transport.answer = Arc::new(|_| None);
    let key = house.emit(1, "a").await;
    let mut dispatch = house.dispatch();
    dispatch.turn_until(|_| !house.seen().is_empty()).await;
    tokio::time::pause();
    let before = Instant::now();
    dispatch.drain().await.unwrap();
    assert!(is_about(before.elapsed(), DRAIN), "{:?}", before.elapsed());
    assert_eq!(Arc::strong_count(&house.transport.seen), 1, "nobody sends any more");
    assert_eq!(house.delivery(&key).status, DeliveryStatus::Pending);
}
