//! What is asked: lists, lanes, due, first in order. All of it sees what is acknowledged, in the index or not.
use crate::house::*;
use tailhook::domain::*;
use tailhook::store::{Filter, Record};

#[tokio::test(start_paused = true)]
async fn answers_do_not_depend_on_the_index_writer() {
    let (at_once, late) = (House::new().await, House::new().await);
    for records in history() {
        at_once.commit(records.clone()).await;
        at_once.settle().await;
        late.commit(records).await;
        assert_eq!(answers(&at_once.store).await, answers(&late.store).await);
    }
    assert_eq!(at_once.store.vitals().index_lag_frames, 0);
    assert!(late.store.vitals().index_lag_frames > 0);
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_paged_newest_first() {
    let house = House::new().await;
    for n in 1..=250 {
        house.commit(captured(n, lane(u128::from(n % 2)))).await;
        if n == 120 {
            house.settle().await;
        }
    }
    house.commit(vec![attempted(key(7, lane(1)), 1, Next::RetryAt(NOON_MS))]).await;
    house.commit(vec![attempted(key(8, lane(0)), 1, Next::Delivered)]).await;
    let list = async |filter: Filter| {
        let mut filter = Filter { limit: 100, ..filter };
        let mut found = Vec::new();
        loop {
            let page = house.store.history().list(&tenant(), &filter).await.unwrap();
            assert!(page.deliveries.len() <= 100);
            found.extend(page.deliveries.iter().map(|d| (d.created_us / 1000 - NOON_MS) as u64));
            filter.after = page.next;
            if page.next.is_none() {
                return found;
            }
        }
    };
    let all = || (1..=250_u64).rev();
    let us = |n: i64| Some((NOON_MS + n) * 1000);
    let cases: Vec<(&str, Filter, Vec<u64>)> = vec![
        ("all", Filter::default(), all().collect()),
        (
            "event",
            Filter { event: Some("invoice.created".into()), ..Filter::default() },
            all().filter(|n| n % 2 == 0).collect(),
        ),
        (
            "lane",
            Filter { subscription: Some(lane(1)), ..Filter::default() },
            all().filter(|n| n % 2 == 1).collect(),
        ),
        (
            "resource",
            Filter { resource_id: Some("2".into()), ..Filter::default() },
            all().filter(|n| n % 3 == 2).collect(),
        ),
        ("retrying", Filter { status: Some(FilterStatus::Retrying), ..Filter::default() }, vec![7]),
        (
            "delivered",
            Filter { status: Some(FilterStatus::Is(Status::Delivered)), ..Filter::default() },
            vec![8],
        ),
        (
            "pending",
            Filter { status: Some(FilterStatus::Is(Status::Pending)), ..Filter::default() },
            all().filter(|n| *n != 8).collect(),
        ),
        (
            "since, until",
            Filter { since_us: us(10), until_us: us(13), ..Filter::default() },
            vec![12, 11, 10],
        ),
        (
            "until a microsecond later",
            Filter { since_us: us(10), until_us: us(12).map(|t| t + 1), ..Filter::default() },
            vec![12, 11, 10],
        ),
        ("nothing", Filter { event: Some("no.such".into()), ..Filter::default() }, vec![]),
    ];
    for (name, filter, expected) in cases {
        assert_eq!(list(filter).await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_page_says_where_the_next_begins_and_a_tenant_sees_its_own() {
    let house = House::new().await;
    for n in 1..=5 {
        house.commit(captured(n, lane(1))).await;
    }
    let two = house.store.history().list(&tenant(), &Filter { limit: 2, ..Filter::default() }).await.unwrap();
    assert_eq!((two.deliveries.len(), two.next), (2, Some(two.deliveries[1].key.id)));
    assert!(
        house
            .store
            .history()
            .list(&TenantId::new("other"), &Filter::default())
            .await
            .unwrap()
            .deliveries
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_waiting_in_one_lane_are_read_in_pages() {
    let house = House::new().await;
    for first in (0..100_000_u64).step_by(2000) {
        let records: Vec<Record> = (first..first + 2000).flat_map(|n| captured(n, lane(1))).collect();
        house.commit(records).await;
    }
    let (_, overflowed) = house.store.outbox().fresh().await;
    assert!(overflowed, "the feed is bounded");
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = house.store.outbox().due(lane(1), after, 777).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(after < page.first().map(|p| p.seq));
        after = Some(last.seq);
        seen += page.len();
    }
    assert_eq!((seen, house.store.vitals().pending), (100_000, 100_000));
    assert_eq!(house.store.outbox().lanes().await.unwrap(), [lane(1)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_resource_is_the_first_that_is_still_owed() {
    let house = House::new().await;
    for n in [3, 6, 9] {
        house.commit(captured(n, lane(1))).await;
    }
    let order = house.store.outbox().due(lane(1), None, 1).await.unwrap()[0].order.unwrap();
    let first = async || house.store.outbox().first_in_order(lane(1), order).await.unwrap().map(|p| p.key);
    assert_eq!(first().await, Some(key(3, lane(1))));
    house.settle().await;
    house.commit(vec![attempted(key(3, lane(1)), 1, Next::RetryAt(NOON_MS))]).await;
    assert_eq!(first().await, Some(key(3, lane(1))));
    house.commit(vec![attempted(key(3, lane(1)), 2, Next::Failed)]).await;
    assert_eq!(first().await, Some(key(6, lane(1))));
    house.commit(vec![Record::Retried { key: key(3, lane(1)), at_ms: NOON_MS }]).await;
    let due: Vec<_> =
        house.store.outbox().due(lane(1), None, 9).await.unwrap().into_iter().map(|p| p.key).collect();
    assert_eq!(due, [6, 9, 3].map(|n| key(n, lane(1))), "a retry by hand queues at the end");
    house
        .commit(vec![
            attempted(key(6, lane(1)), 1, Next::Delivered),
            attempted(key(9, lane(1)), 1, Next::Delivered),
        ])
        .await;
    assert_eq!(first().await, Some(key(3, lane(1))));
    house
        .commit(vec![Record::Abandoned { key: key(3, lane(1)), reason: "expired".into(), at_ms: NOON_MS }])
        .await;
    assert_eq!((first().await, house.store.outbox().lanes().await.unwrap()), (None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_remembers_what_became_of_it() {
    let house = House::new().await;
    let k = key(2, lane(1));
    house.commit(captured(2, lane(1))).await;
    for number in 1..=25 {
        house.commit(vec![attempted(k.clone(), number, Next::RetryAt(NOON_MS + i64::from(number)))]).await;
    }
    let d = house.store.history().delivery(&k).await.unwrap().unwrap();
    assert_eq!((d.status, d.attempts, d.counted_attempts), (Status::Pending, 25, 25));
    assert_eq!((d.log.len(), d.log[0].number, d.last_error.as_deref()), (20, 6, Some("HTTP 503: said so")));
    assert_eq!(d.due_ms, NOON_MS + 25);
    house.commit(vec![attempted(k.clone(), 26, Next::Failed)]).await;
    house.commit(vec![Record::Retried { key: k.clone(), at_ms: NOON_MS + 99 }]).await;
    let d = house.store.history().delivery(&k).await.unwrap().unwrap();
    assert_eq!((d.status, d.attempts, d.counted_attempts, d.due_ms), (Status::Pending, 0, 0, NOON_MS + 99));
    house.commit(vec![attempted(k.clone(), 1, Next::Delivered)]).await;
    let d = house.store.history().delivery(&k).await.unwrap().unwrap();
    assert_eq!((d.status, d.attempts, d.last_error), (Status::Delivered, 1, None));
}
