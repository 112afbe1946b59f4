//! What stages hand each other: the attempt's own time, the resource's type, whose a subscription is.
use super::*;

/// Receivers refuse a timestamp that is minutes old: it is the attempt's, however old its event is, and each attempt has its own.
#[tokio::test]
async fn each_attempt_is_stamped_with_its_own_time() {
    let mut house = House::new(|request| Some(Ok(if request.attempt < 3 { 503 } else { 200 }))).await;
    house.subscribe(1, KEY, true).await;
    let began_ms = SystemClock.now_ms();
    let hours_ago = began_ms * 1000 - 3 * 3_600_000_000;
    let key = house.emit_as(1, "a", |event| Event { timestamp_us: hours_ago, ..event }).await;
    house.start();
    house.until(|house| house.store.vitals().pending == 0).await;
    let attempts = house.delivery(&key).log;
    let stamps: Vec<i64> = house.seen().iter().map(|request| request.timestamp).collect();
    let began: Vec<i64> = attempts.iter().map(|attempt| attempt.at_ms / 1000).collect();
    assert_eq!((stamps.len(), &stamps), (3, &began));
    assert!(stamps[0] > hours_ago / 1_000_000 + 3_600, "{stamps:?}");
    house.stop().await.unwrap();
}

/// An invoice and a payment of one number are two resources: that one of them hangs does not hold up the other.
#[tokio::test]
async fn resources_of_one_id_and_two_types_do_not_wait_for_each_other() {
    let hangs = |request: &Request| request.event().resource.as_ref().is_some_and(|r| r.kind == "payment");
    let mut house = House::new(move |request| if hangs(request) { None } else { Some(Ok(200)) }).await;
    house.subscribe(1, KEY, true).await;
    // the window opens by a success
    let first = house.emit(1, "other").await;
    house.start();
    house.until(|house| house.delivery(&first).status == DeliveryStatus::Delivered).await;
    let payment =
        |event| Event { resource: Some(Resource { kind: "payment".into(), id: "7".into() }), ..event };
    let hanging = house.emit_as(1, "7", payment).await;
    let invoice = house.emit(1, "7").await;
    house.until(|house| house.delivery(&invoice).status == DeliveryStatus::Delivered).await;
    assert_eq!(house.delivery(&hanging).status, DeliveryStatus::Pending);
    tokio::time::pause();
    house.stop().await.unwrap();
}

/// A subscription that SQL gives to another tenant: what it owed the first one is given up, what it owes the other is sent, also when
/// that happens while dispatch runs; and never is an event of one tenant sent to an endpoint of another.
#[tokio::test]
async fn a_subscription_that_changes_hands_takes_nothing_along() {
    let mut house = House::new(|_| Some(Ok(200))).await;
    house.subscribe(1, KEY, true).await;
    let before = house.emit(1, "a").await;
    let mut after = Vec::new();
    for tenant in ["u", "v"] {
        let given = Subscription { tenant: TenantId::new(tenant), ..subscription(1, KEY, true) };
        let records = vec![Record::Subscription(Box::new(given))];
        house.store.checkpoint().commit(Batch { records }).await.unwrap();
        for _ in 0..2 {
            let theirs = |event| Event { tenant: TenantId::new(tenant), ..event };
            after.push(house.emit_as(1, "a", theirs).await);
            if after.len() == 1 {
                house.start();
            }
            house.until(|house| house.store.vitals().pending == 0).await;
        }
    }
    let gave_up = house.delivery(&before);
    assert_eq!(gave_up.status, DeliveryStatus::Abandoned);
    assert!(gave_up.last_error.unwrap().contains("another tenant"));
    for key in &after {
        assert_eq!(house.delivery(key).status, DeliveryStatus::Delivered);
    }
    let seen = house.seen();
    assert_eq!(seen.len(), after.len());
    assert!(seen.iter().all(|request| request.endpoint.tenant == request.event().tenant));
    house.stop().await.unwrap();
}
