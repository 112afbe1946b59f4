//! Simulated receivers and the network before them: latency, moods, every kind of answer, lost answers. Records every
//! request. Knows nothing of retries or order.
use crate::plan::Kind;
use crate::rng::Rng;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::domain::{DeliveryId, EventId, Failure, Outcome, Sequence};
use tailhook::egress::{Request, Transport};
use tailhook::store::OwnerLease;
use tokio::time::{Instant, sleep, timeout};

/// One request, from the first byte on.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) began_ms: u64,
    /// `None`: the sidecar died before it had an answer.
    pub(crate) ended_ms: Option<u64>,
    pub(crate) life: u64,
    pub(crate) url: String,
    pub(crate) event: EventId,
    pub(crate) delivery: DeliveryId,
    pub(crate) attempt: u32,
    pub(crate) sequence: Sequence,
    pub(crate) secrets: Vec<String>,
    /// Custom headers, as JSON.
    pub(crate) headers: String,
    /// How often the sidecar's clock had been set when it ended, and how long the receiver wishes to be left alone from then on.
    pub(crate) asked: Option<(u64, u64)>,
    /// The same when it began.
    pub(crate) clock_sets: u64,
    /// The receiver has it, whatever the sidecar learned.
    pub(crate) arrived: bool,
    pub(crate) answer: Option<Result<u16, Failure>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Healthy,
    Flaky,
    /// Nobody listens.
    Dead,
    /// Connects and never answers.
    Hanging,
    /// 500, 502, 503, some with `Retry-After`.
    Erring,
}

/// The world outside; outlives every life of the sidecar.
#[derive(Debug)]
pub(crate) struct Net {
    world: Arc<World>,
    rng: Rng,
    moods: Mutex<BTreeMap<String, (Mood, u64)>>,
    bodies: Mutex<BTreeMap<EventId, bytes::Bytes>>,
    log: Mutex<Vec<Sent>>,
}

/// The way out, as one life of the sidecar sees it.
#[derive(Debug, Clone)]
pub(crate) struct SimTransport {
    net: Arc<Net>,
    life: u64,
    /// Until when it is this life's to send.
    lease: OwnerLease,
}

/// What the network does with one request.
struct Fate {
    /// Until the receiver has it; `None`: it never has.
    there: Option<u64>,
    /// From there to the answer.
    back: u64,
    answer: Result<u16, Failure>,
    retry_after_ms: Option<u64>,
}

impl Net {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let rng = world.rng.fork();
        Arc::new(Self {
            world: world.clone(),
            rng,
            moods: Mutex::default(),
            bodies: Mutex::default(),
            log: Mutex::default(),
        })
    }
    pub(crate) fn transport(self: &Arc<Self>, life: u64) -> SimTransport {
        self.transport_until(life, OwnerLease::forever())
    }
    pub(crate) fn transport_until(self: &Arc<Self>, life: u64, lease: OwnerLease) -> SimTransport {
        SimTransport { net: self.clone(), life, lease }
    }
    pub(crate) fn log(&self) -> Vec<Sent> {
        self.log.lock().unwrap().clone()
    }
    pub(crate) fn body(&self, event: EventId) -> Option<bytes::Bytes> {
        self.bodies.lock().unwrap().get(&event).cloned()
    }

    fn mood(&self, url: &str) -> Mood {
        if !self.world.faulty(Kind::Net) {
            return Mood::Healthy;
        }
        let now = self.world.ms();
        let mut moods = self.moods.lock().unwrap();
        let entry = moods.entry(url.to_owned()).or_insert((Mood::Healthy, 0));
        if entry.1 <= now {
            let lasts = if self.rng.permille(100) { 600_000 } else { 20_000 };
            let mood = match self.rng.below(12) {
                0 => Mood::Dead,
                1 => Mood::Hanging,
                2 => Mood::Erring,
                3..6 => Mood::Flaky,
                _ => Mood::Healthy,
            };
            *entry = (mood, now + 100 + self.rng.below(lasts));
            self.world.note(|| format!("{url} is {mood:?} for a while"));
        }
        entry.0
    }

    fn fate(&self, request: &Request) -> Fate {
        let rng = &self.rng;
        let answered =
            |there, back, status| Fate { there: Some(there), back, answer: Ok(status), retry_after_ms: None };
        let deadline = request.deadline.as_millis() as u64;
        // a few events are never welcome: the same answer whenever they come
        if request.event().id.0.as_bytes()[15] < 10 {
            return answered(rng.below(20), rng.below(20), *rng.pick(&[400, 404, 410, 422, 429]).unwrap());
        }
        match self.mood(&request.endpoint.url) {
            Mood::Healthy => {
                answered(rng.below(15), rng.below(25), *rng.pick(&[200, 201, 202, 204, 302]).unwrap())
            }
            Mood::Dead => Fate {
                there: None,
                back: rng.below(30),
                answer: Err(Failure::Connection),
                retry_after_ms: None,
            },
            Mood::Hanging => Fate {
                there: rng.permille(500).then(|| rng.below(1000)),
                back: deadline * 2,
                answer: Err(Failure::Timeout),
                retry_after_ms: None,
            },
            Mood::Erring => {
                let wait = rng.permille(200).then(|| 1_000 + rng.below(20_000));
                let fate = answered(rng.below(20), rng.below(50), *rng.pick(&[500, 502, 503]).unwrap());
                Fate { retry_after_ms: wait, ..fate }
            }
            Mood::Flaky => match rng.below(10) {
                0..5 => answered(rng.below(400), rng.below(1500), 200),
                5 => answered(rng.below(400), rng.below(800), rng.range(200, 600) as u16),
                // received, but the answer is lost
                6 => Fate { answer: Err(Failure::Connection), ..answered(rng.below(100), rng.below(100), 0) },
                7 => Fate { back: deadline * 2, ..answered(rng.below(100), 0, 200) },
                _ => {
                    let answer = Err(*rng
                        .pick(&[
                            Failure::Connection,
                            Failure::Dns,
                            Failure::Tls,
                            Failure::Protocol,
                            Failure::Local,
                        ])
                        .unwrap());
                    Fate { there: None, back: rng.below(200), answer, retry_after_ms: None }
                }
            },
        }
    }

    /// The same id always has the same body.
    fn compare(&self, request: &Request) {
        let mut bodies = self.bodies.lock().unwrap();
        let known = bodies.entry(request.event().id).or_insert_with(|| request.event().body.clone());
        if *known != request.event().body {
            self.world.violated(format!("event {} is sent with two different bodies", request.event().id));
        }
    }
}

impl SimTransport {
    /// An event goes to endpoints of its own tenant alone, stamped with the time of the attempt by the sidecar's clock.
    fn is_meant(&self, request: &Request) {
        let world = &self.net.world;
        let (of, to) = (&request.event().tenant, &request.endpoint.tenant);
        if of != to {
            let id = request.parcel.id();
            world.violated(format!("{id} of tenant {of} goes to an endpoint of tenant {to}"));
        }
        if !world.clocks_ms().any(|ms| ms.div_euclid(1000) == request.timestamp) {
            let (id, stamp) = (request.parcel.id(), request.timestamp);
            world.violated(format!("{id} is stamped {stamp}, which is not the time of its attempt"));
        }
    }
    fn begin(&self, request: &Request) -> usize {
        let world = &self.net.world;
        if !self.lease.holds(Instant::now()) {
            world.violated(format!("{} is sent by life {} past its lease", request.parcel.id(), self.life));
        }
        let mut log = self.net.log.lock().unwrap();
        log.push(Sent {
            began_ms: world.ms(),
            ended_ms: None,
            life: self.life,
            url: request.endpoint.url.clone(),
            event: request.event().id,
            delivery: DeliveryId(request.parcel.id().0),
            attempt: request.attempt,
            sequence: request.event().sequence,
            secrets: request.secrets.iter().map(|s| s.expose().to_owned()).collect(),
            headers: clear_headers(request),
            asked: None,
            clock_sets: world.clock_sets(),
            arrived: false,
            answer: None,
        });
        world.note(|| format!("send {} {} #{}", request.event().name, request.parcel.id(), request.attempt));
        log.len() - 1
    }
    fn update(&self, number: usize, change: impl FnOnce(&mut Sent)) {
        change(&mut self.net.log.lock().unwrap()[number]);
    }
}

impl Transport for SimTransport {
    async fn send(&self, request: Request) -> Outcome {
        let (net, world) = (&self.net, &self.net.world);
        let began = Instant::now();
        net.compare(&request);
        self.is_meant(&request);
        let number = self.begin(&request);
        let fate = net.fate(&request);
        let travel = async {
            if let Some(there) = fate.there {
                sleep(Duration::from_millis(there)).await;
                self.update(number, |sent| sent.arrived = true);
            }
            sleep(Duration::from_millis(fate.back)).await;
        };
        let answer = timeout(request.deadline, travel).await.map_or(Err(Failure::Timeout), |()| fate.answer);
        let retry_after_ms = fate.retry_after_ms.filter(|_| answer.is_ok());
        self.update(number, |sent| {
            sent.ended_ms = Some(world.ms());
            sent.answer = Some(answer);
            sent.asked = retry_after_ms.map(|wait| (world.clock_sets(), wait));
        });
        world.note(|| format!("answer {} #{}: {answer:?}", request.parcel.id(), request.attempt));
        Outcome { answer, detail: None, retry_after_ms, duration_us: began.elapsed().as_micros() as u64 }
    }
}

/// As the ERP wrote them.
fn clear_headers(request: &Request) -> String {
    let clear: BTreeMap<&str, &str> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    serde_json::to_string(&clear).unwrap()
}
