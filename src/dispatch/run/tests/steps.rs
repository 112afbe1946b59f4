//! The loop step by step: what one call of each part takes in, begins, and leaves.
use super::*;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::dispatch::{Facts, ParcelMember, Ticket};
use crate::domain::{EndpointKey, Parcel, Seq};

/// The loop before its first step.
pub(super) type Loop = Dispatch<Scripted, fn() -> f64>;

impl House {
    pub(super) fn dispatch(&self) -> Loop {
        Dispatch::new(self.parts(), self.stop.subscribe())
    }
}

impl Loop {
    /// One turn without waiting.
    pub(super) fn turn(&mut self) {
        self.ended().unwrap();
        self.begin_reads();
        self.give_up();
        self.start();
        self.ledger.flush_due();
    }
    /// Turns until it is so; the limit only keeps a broken test from hanging.
    pub(super) async fn turn_until(&mut self, so: impl Fn(&Self) -> bool) {
        let turned = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                self.turn();
                if so(self) {
                    break;
                }
                task::yield_now().await;
            }
        });
        turned.await.expect("it never came to be so");
    }
    pub(super) fn offer(&mut self, pending: Pending) {
        let now = self.now();
        self.scheduler.offer(pending, now);
    }
    /// A lane that leads there, whatever its subscription says.
    pub(super) fn open(&mut self, lane: u128, tenant: &str, url: &str) {
        let endpoint = EndpointKey { tenant: TenantId::new(tenant), url: url.into() };
        let now = self.now();
        self.scheduler.open_lane(lane_id(lane), &Facts { endpoint, ordering: None, rate: None }, now);
    }
    /// The store does not take an outcome.
    pub(super) async fn block(&mut self) {
        let key = given_up(1).key;
        let settled = Settled::Abandoned { key, reason: "a test".into(), at_ms: 0 };
        self.ledger.add(vec![settled], vec![given_up(1).ticket]);
        self.ledger.flush();
        assert_eq!(self.ledger.finished().await, Ok(Vec::new()));
        assert!(self.ledger.is_refused());
    }
}

fn given_up(n: u64) -> GivenUp {
    let ticket = Ticket { lane: lane_id(1), seq: Seq::new(n, 0) };
    GivenUp { ticket, key: pending(1, n, None).key, reason: "a test" }
}
/// Of lane 1 and this tenant, committed now.
pub(super) fn fresh(n: u64, tenant: &str) -> Pending {
    let new = pending(1, n, None);
    let key = DeliveryKey { tenant: TenantId::new(tenant), ..new.key };
    Pending { key, created_us: SystemClock.now_us(), ..new }
}
/// A house with a subscription, and its loop that has listed the lanes.
pub(super) async fn listed() -> (House, Loop) {
    let house = House::new(|_| Some(Ok(200))).await;
    house.subscribe(1, KEY, true).await;
    let mut dispatch = house.dispatch();
    dispatch.list_lanes = false;
    (house, dispatch)
}

#[tokio::test]
async fn everything_that_has_ended_is_taken_in_without_waiting() {
    let mut house = House::new(|_| Some(Ok(200))).await;
    house.subscribe(1, KEY, true).await;
    let keys = [house.emit(1, "a").await, house.emit(1, "a").await];
    let mut dispatch = house.dispatch();
    dispatch.turn_until(|_| house.store.vitals().pending == 0).await;
    assert!(keys.iter().all(|key| house.delivery(key).status == DeliveryStatus::Delivered));
    dispatch.turn_until(|dispatch| dispatch.scheduler.held() == 0 && dispatch.ledger.is_empty()).await;
    assert!(dispatch.attempts.is_empty() && dispatch.jobs.is_empty());
}

/// While a snapshot is taken anew nobody knows who subscribes.
#[tokio::test]
async fn nothing_begins_before_a_history_is_followed() {
    let house = House::new(|_| None).await;
    let identity = Identity {
        system_id: "1".into(),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [0; 16],
        shadow_plan: String::new(),
    };
    let checkpoint = house.store.checkpoint();
    checkpoint.commit(Batch { records: vec![Record::Filling(identity.clone())] }).await.unwrap();
    let mut dispatch = house.dispatch();
    let mut followed = Box::pin(dispatch.followed());
    assert!(followed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let records = vec![Record::Identity(identity), Record::Position(Lsn(2))];
    checkpoint.commit(Batch { records }).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), followed).await.expect("it is followed now");
}

/// It does not spin, and reads nothing that nobody wants.
#[tokio::test]
async fn who_has_nothing_to_read_reads_nothing() {
    let (_house, mut dispatch) = listed().await;
    assert!(!dispatch.begin_reads());
    assert!(dispatch.reads.begin_names(&[]), "no names were being read");
    // names wait for those that are being read
    dispatch.nameless = vec![given_up(1)];
    assert!(!dispatch.begin_reads());
    assert_eq!(dispatch.nameless.len(), 1);
    assert!(dispatch.reads.finished().await.is_some());
    assert!(!dispatch.begin_reads());
    assert!(dispatch.nameless.is_empty() && !dispatch.reads.begin_names(&[]));
}

/// With one lane there is more to read, its count, and room for it; with more lanes than reads there is no room.
#[tokio::test]
async fn reads_go_on_at_once_while_there_is_room() {
    for (lanes, busy, room) in [(1, true, 3), (6, false, 0)] {
        let (house, mut dispatch) = listed().await;
        for lane in 1..=lanes {
            house.subscribe(lane, KEY, true).await;
            dispatch.refresh_lane(lane_id(lane));
            dispatch.scheduler.backlog(lane_id(lane));
        }
        assert_eq!((dispatch.begin_reads(), dispatch.reads.room()), (busy, room), "{lanes}");
        assert!(dispatch.scheduler.wants_reads());
    }
}

#[tokio::test]
async fn a_store_that_failed_is_left_alone_for_a_second() {
    let (_house, mut dispatch) = listed().await;
    tokio::time::pause();
    let again = Instant::now() + AGAIN;
    dispatch.read_ended(ReadAnswer::Failed(Reading::Lanes, "a test".into()));
    assert_eq!((dispatch.again, dispatch.list_lanes), (Some(again), true));
    assert!(!dispatch.begin_reads());
    assert_eq!((dispatch.again, dispatch.list_lanes), (Some(again), true), "nothing is read");
    // its time has come
    dispatch.again = Some(Instant::now());
    dispatch.begin_reads();
    assert_eq!((dispatch.again, dispatch.list_lanes), (None, false));
}

/// Names are read for the metrics alone: of too many they are not.
#[tokio::test]
async fn of_too_many_that_are_given_up_no_names_are_read() {
    let (house, mut dispatch) = listed().await;
    dispatch.refresh_lane(lane_id(1));
    dispatch.nameless = vec![given_up(9); NAMELESS - 1];
    for n in 1..=3 {
        // of 1970
        dispatch.offer(pending(1, n, None));
    }
    dispatch.give_up();
    let others = house.metrics.deliveries.with_label_values(&["other", "abandoned"]).get();
    assert_eq!((dispatch.nameless.len(), others), (NAMELESS, 2));
    assert!(!dispatch.ledger.is_empty(), "all of them are made durable");
}

#[tokio::test]
async fn nothing_starts_past_the_lease_or_while_the_store_takes_nothing() {
    let (house, mut dispatch) = listed().await;
    assert!(dispatch.may_start());
    let lease = watch::Sender::new(Instant::now());
    dispatch.lease = OwnerLease::until(lease.subscribe());
    assert!(!dispatch.may_start(), "it is over");
    lease.send_replace(Instant::now() + Duration::from_secs(3_600));
    assert!(dispatch.may_start());
    house.full.store(true, Ordering::SeqCst);
    dispatch.block().await;
    assert!(!dispatch.may_start());
    dispatch.ledger.unblock();
    assert!(dispatch.may_start());
}

/// What waits for an endpoint that is not the subscription's any more is not sent there; another tenant's is not sent at all.
#[tokio::test]
async fn nothing_is_sent_where_the_subscription_does_not_lead() {
    for (tenant, url, sent) in [
        ("t", "https://receiver.test/1", 1),
        ("t", "https://former.test/", 1),
        ("former", "https://receiver.test/1", 0),
    ] {
        let (_house, mut dispatch) = listed().await;
        dispatch.open(1, tenant, url);
        dispatch.offer(fresh(1, tenant));
        dispatch.start();
        assert_eq!(dispatch.attempts.len(), sent, "{tenant} {url}");
        let leads_to = dispatch.scheduler.endpoint_of(lane_id(1));
        assert_eq!(leads_to, Some(&subscription(1, KEY, true).endpoint()), "{tenant} {url}");
    }
}

/// The lease may end while the body is read.
#[tokio::test]
async fn an_attempt_whose_lease_is_over_sends_nothing_and_has_no_outcome() {
    for (left, sent) in [(Duration::ZERO, 0), (Duration::from_secs(3_600), 1)] {
        let (mut house, _) = listed().await;
        house.emit(1, "a").await;
        let lease = watch::Sender::new(Instant::now() + left);
        let outbox = house.store.outbox_until(OwnerLease::until(lease.subscribe()));
        let pending = outbox.due(lane_id(1), None, 1).await.unwrap().remove(0);
        let ticket = Ticket { lane: lane_id(1), seq: pending.seq };
        let attempting = Attempting {
            outbox,
            transport: house.transport.clone(),
            sealer: Sealer::from_base64(KEY).unwrap(),
            subscription: Arc::new(subscription(1, KEY, true)),
            parcel: Parcel::single(pending.key.id, ParcelMember { ticket, pending, due: 0 }),
            timeout: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
        };
        let came = attempting.make().await;
        assert_eq!((came.outcome.iter().count(), house.seen().len()), (sent, sent), "{left:?}");
    }
}
