//! What the scheduler takes to see a delivery through, whatever else it knows: offered, chosen, ended, settled.
use criterion::{BenchmarkId, Criterion, Throughput};
use std::time::Duration;
use tailhook::dispatch::{Facts, Job, Now, Scheduler};
use tailhook::domain::{
    BodyPlace, DeliveryId, DeliveryKey, EndpointKey, EventId, Outcome, Pending, Seq, SubscriptionId, TenantId,
};
use tailhook::settings::DispatchSettings;
use tokio::time::Instant;
use uuid::Uuid;

/// Deliveries of a round: no more than a new endpoint takes into memory, so that nothing must be read from a store.
const ROUND: u64 = 100;
const WALL: i64 = 1_771_065_000_000;

struct Desk {
    scheduler: Scheduler,
    lanes: u64,
    seq: u64,
    steady: i64,
}

impl Desk {
    /// One lane an endpoint.
    fn new(lanes: u64) -> Self {
        let mut desk =
            Self { scheduler: Scheduler::new(DispatchSettings::default()), lanes, seq: 0, steady: 0 };
        let tenant = TenantId::new("t");
        for n in 0..lanes {
            let url = format!("https://receiver-{n}.example.com/hook");
            let facts =
                Facts { endpoint: EndpointKey { tenant: tenant.clone(), url }, ordering: None, rate: None };
            desk.scheduler.open_lane(lane(n), &facts, desk.now());
        }
        desk
    }
    fn now(&self) -> Now {
        Now { wall: WALL + self.steady, steady: self.steady }
    }
    fn pending(&mut self) -> Pending {
        self.seq += 1;
        // scattered over all lanes
        let to = self.seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.lanes;
        Pending {
            key: DeliveryKey {
                tenant: TenantId::new("t"),
                id: DeliveryId(Uuid::from_u128(u128::from(self.seq))),
            },
            event_id: EventId(Uuid::from_u128(u128::from(self.seq))),
            place: BodyPlace::default(),
            subscription: lane(to),
            order: Some(self.seq),
            seq: Seq::new(self.seq, 0),
            due_ms: WALL,
            counted_attempts: 0,
            attempts: 0,
            created_us: WALL * 1000,
        }
    }
    /// A round of deliveries, from the offer to the end.
    fn round(&mut self) -> u64 {
        self.steady += 1;
        for _ in 0..ROUND {
            let pending = self.pending();
            self.scheduler.offer(pending, self.now());
        }
        let (mut ended, now) = (0, self.now());
        loop {
            let jobs: Vec<Job> = std::iter::from_fn(|| self.scheduler.next(now)).collect();
            if jobs.is_empty() {
                assert_eq!(ended, ROUND, "what is measured must be what is meant");
                return ended;
            }
            for job in jobs {
                let outcome =
                    Outcome { answer: Ok(200), detail: None, retry_after_ms: None, duration_us: 900 };
                self.scheduler.done(&job, outcome, now.wall, now, 0.0);
                self.scheduler.settled(&[job.parcel.first().ticket], now);
                ended += 1;
            }
        }
    }
}

fn lane(n: u64) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(u128::from(n) + 1))
}

/// Per delivery, with 1, 1,000 and 100,000 endpoints.
pub(crate) fn scheduler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(1));
    for endpoints in [1, 1_000, 100_000] {
        let mut desk = Desk::new(endpoints);
        group.bench_function(BenchmarkId::new("a delivery, endpoints", endpoints), |b| {
            b.iter_custom(|wanted| {
                let began = Instant::now();
                let mut ended = 0;
                while ended < wanted {
                    ended += desk.round();
                }
                // rounds are whole: what was more than wanted is left out
                Duration::from_secs_f64(began.elapsed().as_secs_f64() * wanted as f64 / ended as f64)
            });
        });
    }
    group.finish();
}
