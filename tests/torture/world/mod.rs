//! An ERP that writes down what it owes, a few tenants who subscribed, four receivers of which one is flaky, and the binary
//! beside a real Postgres. Knows no kill and no crash point: those who use it do.
mod arrivals;
mod verdict;
mod workers;

use crate::rig::Rig;
use arrivals::Arrivals;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::demo::http;
use tailhook::demo::random::Random;
use tailhook::demo::receiver::{Manner, Receiver};
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
const WISHES: [Wish; 6] = [
    Wish { tenant: TENANTS[0], pattern: "*", receiver: 0 },
    Wish { tenant: TENANTS[0], pattern: "order.paid", receiver: 1 },
    Wish { tenant: TENANTS[1], pattern: "order.*", receiver: 2 },
    Wish { tenant: TENANTS[1], pattern: "order.created", receiver: FLAKY },
    Wish { tenant: TENANTS[2], pattern: "*", receiver: FLAKY },
    Wish { tenant: TENANTS[2], pattern: "order.deleted", receiver: 1 },
];

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

/// Everything. The sidecar streams when it is made; whoever uses it stops and starts it by `rig`.
pub(crate) struct World {
    pub(crate) rig: Rig,
    pub(crate) arrivals: Arrivals,
    hung: Arc<AtomicBool>,
    _receivers: JoinSet<()>,
}

impl World {
    /// `seed` decides how the flaky receiver behaves; `environment` is the sidecar's from its first start on.
    pub(crate) async fn new(seed: u64, environment: &[(&'static str, &str)]) -> Self {
        let mut rig = Rig::with(ERP, SETTINGS).await;
        rig.environment.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
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
        rig.start(&[]);
        rig.ready().await;
        for (number, wish) in WISHES.iter().enumerate() {
            let url = format!("https://{}/{number}", hosts[wish.receiver]);
            rig.api.subscribe(wish.tenant, wish.pattern, &url, SECRET).await.expect("a subscription");
        }
        Self { rig, arrivals, hung, _receivers: tasks }
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
        for tenant in TENANTS {
            if self.list(tenant, "pending").await.is_none_or(|pending| !pending.is_empty()) {
                return false;
            }
        }
        true
    }

    /// Deliveries of a tenant in a state; `None`: no answer, or a refusal.
    pub(crate) async fn list(&self, tenant: &str, status: &str) -> Option<Vec<Value>> {
        let path = format!("/api/v1/tenant/webhooks/deliveries?status={status}&limit=1");
        let headers =
            [format!("Authorization: Bearer {}", self.rig.api.token), format!("X-Tenant-Id: {tenant}")];
        let answer = http::request(self.rig.api.address, "GET", &path, &headers, "").await.ok()?;
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok()).flatten()
    }

    /// What was owed against what came. Call it when it has settled.
    pub(crate) async fn verdict(&self) -> Verdict {
        let owed = verdict::owed(&self.rig.erp).await;
        self.arrivals.look(|arrived| Verdict::of(&owed, arrived))
    }
}

/// The flaky one takes most requests; the others it refuses, takes its time for (sometimes more than it is given), or hangs
/// up on.
fn manners(flaky: bool, seed: u64, hung: Arc<AtomicBool>) -> impl Fn() -> Manner + Send + Sync {
    let random = Mutex::new(Random::new(seed ^ 0xf1a2));
    move || {
        if hung.load(Ordering::Relaxed) {
            return Manner::Late(Duration::from_secs(3600));
        }
        if !flaky {
            return Manner::Status(200);
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
