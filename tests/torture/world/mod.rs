//! An ERP that writes down what it owes, a few tenants who subscribed, four receivers of which one is flaky, and the binary
//! beside a real Postgres. Knows no kill and no crash point: those who use it do.
mod arrivals;
mod client;
mod verdict;
mod workers;

use crate::rig::Rig;
use arrivals::Arrivals;
use client::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook_demo::random::Random;
use tailhook_demo::receiver::{Manner, Receiver};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
pub(crate) use verdict::Verdict;
pub(crate) use workers::Workers;

const ERP: &str = include_str!("erp.sql");
const SETTINGS: &str = include_str!("settings.toml");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const TENANTS: [&str; 3] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
];
const RECEIVERS: usize = 4;
const FLAKY: usize = 3;
/// Who wants what, and which receiver gets it at the path `/<place in this list>`.
const WISHES: [Wish; 7] = [
    Wish { tenant: TENANTS[0], pattern: "*", receiver: 0 },
    Wish { tenant: TENANTS[0], pattern: "order.paid", receiver: 1 },
    Wish { tenant: TENANTS[1], pattern: "order.*", receiver: 2 },
    Wish { tenant: TENANTS[1], pattern: "order.created", receiver: FLAKY },
    Wish { tenant: TENANTS[2], pattern: "*", receiver: FLAKY },
    Wish { tenant: TENANTS[2], pattern: "order.deleted", receiver: 1 },
    // refused for good, whoever comes: for retries by hand
    Wish { tenant: TENANTS[1], pattern: "probe.refused", receiver: 0 },
];
const REFUSED: usize = 6;

/// The engine of the index: `INDEX=sled` chooses the other one.
pub(crate) fn engine() -> String {
    std::env::var("INDEX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "lsm".to_owned())
}

/// A subscription.
pub(crate) struct Wish {
    tenant: &'static str,
    pattern: &'static str,
    receiver: usize,
}

impl Wish {
    fn wants(&self, tenant: &str, event: &str) -> bool {
        let prefix = self.pattern.strip_suffix('*');
        tenant == self.tenant && prefix.map_or(event == self.pattern, |prefix| event.starts_with(prefix))
    }
}

/// Everything. Whoever uses it stops and starts the sidecar by `rig`.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) arrivals: Arrivals,
    hosts: Vec<SocketAddr>,
    hung: Arc<AtomicBool>,
    _receivers: JoinSet<()>,
}

impl World {
    /// The sidecar streams, and the tenants have subscribed. `seed` decides how the flaky receiver behaves, `environment` is
    /// the sidecar's from its first start on, `delivery` are more lines of that section.
    pub(crate) async fn new(seed: u64, environment: &[(&'static str, &str)], delivery: &str) -> Self {
        let mut world = Self::before_the_first_start(seed, delivery).await;
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
        world.rig.environment.extend(environment);
        world.begin().await;
        world
    }

    /// Everything but the sidecar.
    pub(crate) async fn before_the_first_start(seed: u64, delivery: &str) -> Self {
        let settings = SETTINGS.replace("[delivery]", &format!("[delivery]\n{delivery}"));
        let rig = Rig::with(ERP, &settings).await;
        let store = format!("[store]\nhistory = \"2s\"\nindex = \"{}\"", engine());
        rig.edit(|file| file.replace("[store]", &store));
        let (sink, mut received) = mpsc::channel(1024);
        let arrivals = Arrivals::default();
        let mut tasks = JoinSet::new();
        let mut hosts = Vec::new();
        let hung = Arc::new(AtomicBool::new(false));
        for number in 0..RECEIVERS {
            let receiver = Receiver::bind(rig.tls.clone()).await.unwrap();
            let receiver = receiver.behaving(manners(number == FLAKY, seed, hung.clone()));
            hosts.push(receiver.address());
            let sink = sink.clone();
            tasks.spawn(async move { match receiver.run(sink).await {} });
        }
        let keep = arrivals.clone();
        tasks.spawn(async move {
            while let Some(request) = received.recv().await {
                keep.take(&request);
            }
        });
        Self { rig, arrivals, hosts, hung, _receivers: tasks }
    }

    /// The first start, and the subscriptions.
    pub(crate) async fn begin(&mut self) {
        self.rig.start(&[]);
        self.rig.ready().await;
        for (number, wish) in WISHES.iter().enumerate() {
            let url = format!("https://{}/{number}", self.hosts[wish.receiver]);
            self.rig.api.subscribe(wish.tenant, wish.pattern, &url, SECRET).await.expect("a subscription");
        }
    }

    /// From now on no receiver answers at all, or all do again as they did.
    #[allow(dead_code, reason = "for tests/storms")]
    pub(crate) fn hang(&self, hung: bool) {
        self.hung.store(hung, Ordering::Relaxed);
    }

    /// Waits until nothing more can come: what was committed is confirmed to Postgres and nothing is pending. The sidecar runs.
    pub(crate) async fn settle(&self) {
        let end =
            self.rig.erp.client().query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
        let end: String = end.get(0);
        let confirmed = format!(
            "SELECT confirmed_flush_lsn >= '{end}'::pg_lsn FROM pg_replication_slots WHERE slot_name = 'tailhook'"
        );
        // a commit of no interest, so that the stream goes past `end`
        self.rig.erp.run("SELECT pg_logical_emit_message(true, 'nothing', '')").await.unwrap();
        loop {
            let row = self.rig.erp.client().query_opt(&confirmed, &[]).await.unwrap();
            if row.is_some_and(|row| row.get(0)) && self.nothing_is_pending().await {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn nothing_is_pending(&self) -> bool {
        let client = Client::of(self);
        for tenant in TENANTS {
            if client.list(tenant, "status=pending").await.is_none_or(|pending| !pending.is_empty()) {
                return false;
            }
        }
        true
    }

    /// What was owed against what came. Call it when it has settled.
    pub(crate) async fn verdict(&self) -> Verdict {
        let owed = verdict::owed(&self.rig.erp).await;
        self.arrivals.look(|arrived| Verdict::of(&owed, arrived))
    }
}

/// The flaky one takes most requests; the others it refuses, takes its time for (sometimes more than it is given), or hangs
/// up on.
fn manners(flaky: bool, seed: u64, hung: Arc<AtomicBool>) -> impl Fn(&str) -> Manner + Send + Sync {
    let random = Mutex::new(Random::new(seed ^ 0xf1a2));
    move |path| {
        if hung.load(Ordering::Relaxed) {
            return Manner::Late(Duration::from_secs(3600));
        }
        if !flaky {
            return steady(path);
        }
        let mut random = random.lock().unwrap();
        match random.below(100) {
            0..70 => Manner::Status(200),
            70..80 => Manner::Status(500),
            80..89 => Manner::Late(Duration::from_millis(random.below(300) as u64)),
            89..90 => Manner::Late(Duration::from_millis(1500)),
            _ => Manner::HangUp,
        }
    }
}

fn steady(path: &str) -> Manner {
    Manner::Status(if path == format!("/{REFUSED}") { 410 } else { 200 })
}
