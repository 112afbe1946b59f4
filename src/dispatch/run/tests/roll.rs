//! Lanes follow their subscriptions: the review after a change, and what comes before a lane's turn in it.
use super::steps::listed;
use super::*;
use crate::dispatch::backlog::lane::tests::lane_id;

/// 256 in a turn: who has no subscription is closed, who has one again is opened.
#[tokio::test]
async fn a_review_looks_at_all_lanes_piece_by_piece() {
    let (house, mut dispatch) = listed().await;
    for lane in 1..=300 {
        dispatch.open(lane, "t", "https://former.test/");
    }
    let now = dispatch.now();
    dispatch.scheduler.close_lane(lane_id(299), "a test", now);
    house.subscribe(299, KEY, true).await;
    let gone = |dispatch: &steps::Loop| (1..=300).filter(|n| dispatch.scheduler.is_gone(lane_id(*n))).count();
    assert_eq!(gone(&dispatch), 1);
    dispatch.review = Review::After(None);
    dispatch.review_lanes();
    assert_eq!((gone(&dispatch), &dispatch.review), (256, &Review::After(Some(lane_id(256)))));
    dispatch.review_lanes();
    assert_eq!((gone(&dispatch), &dispatch.review), (298, &Review::Done));
    for lane in [1, 299] {
        let leads_to = dispatch.scheduler.endpoint_of(lane_id(lane));
        assert_eq!(leads_to, Some(&subscription(lane, KEY, true).endpoint()), "as its subscription says");
    }
    dispatch.review_lanes();
    assert_eq!(gone(&dispatch), 298, "it is over");
}

/// What was committed for a subscription is owed, although its lane was not reviewed yet.
#[tokio::test]
async fn a_lane_is_opened_before_its_review_if_its_owner_is_back_or_another() {
    let (_house, mut dispatch) = listed().await;
    let url_of = |dispatch: &steps::Loop, lane| {
        let endpoint = dispatch.scheduler.endpoint_of(lane_id(lane));
        endpoint.map(|endpoint| (endpoint.tenant.clone(), endpoint.url.clone()))
    };
    let (now, own) = (dispatch.now(), subscription(1, KEY, true).endpoint());
    let own = Some((own.tenant, own.url));
    // it is back
    dispatch.open(1, "t", "https://former.test/");
    dispatch.scheduler.close_lane(lane_id(1), "a test", now);
    assert_eq!(url_of(&dispatch, 1), None);
    dispatch.reopen(lane_id(1));
    assert_eq!(url_of(&dispatch, 1), own);
    // another's
    dispatch.open(1, "former", "https://former.test/");
    dispatch.reopen(lane_id(1));
    assert_eq!(url_of(&dispatch, 1), own);
    // moved only: its review will come
    dispatch.open(1, "t", "https://former.test/");
    dispatch.reopen(lane_id(1));
    assert_eq!(url_of(&dispatch, 1), Some((TenantId::new("t"), "https://former.test/".into())));
    // gone for good
    dispatch.open(2, "t", "https://former.test/");
    dispatch.scheduler.close_lane(lane_id(2), "a test", now);
    dispatch.reopen(lane_id(2));
    assert!(dispatch.scheduler.is_gone(lane_id(2)));
}
