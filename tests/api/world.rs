//! One sidecar's API with everything under it, and a client.
use crate::cluster::Cluster;
use crate::stream::follow;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use tailhook::admin::{ApiParts, ApiSettings, Health, router, system_entropy};
use tailhook::clock::SystemClock;
use tailhook::disk::RealDisk;
use tailhook::domain::{Attempt, DeliveryId, DeliveryKey, Next, Outcome, TenantId};
use tailhook::postgres::Session;
use tailhook::postgres::migrate::{MigrationPlan, migrate};
use tailhook::postgres::session::Patience;
use tailhook::postgres::subscriptions::Subscriptions;
use tailhook::registry::seal::Sealer;
use tailhook::settings::{AdminSettings, AdminToken, Scope, StoreSettings};
use tailhook::store::{Batch, MemoryIndex, Record, Store};
use tailhook::telemetry::Metrics;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

pub const BASE: &str = "/api/v1/tenant/webhooks";
/// Any tenant, may write.
pub const ROOT: &str = "root-token";
/// Any tenant, may read.
pub const READER: &str = "reader-token";
/// Tenant b, may write.
pub const OF_B: &str = "b-token";

pub struct World {
    pub cluster: Cluster,
    pub router: Router,
    pub store: Store,
    pub health: Health,
    pub held: watch::Sender<bool>,
    _settings: watch::Sender<Arc<ApiSettings>>,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
    /// The problem's `code`, with everything that a problem has.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        assert!(
            body["detail"].is_string() && body["title"].is_string() && body["type"].is_string(),
            "{body}"
        );
        body["code"].as_str().expect("a code").to_string()
    }
}

fn token(name: &str, tenant: &str, scope: Scope) -> AdminToken {
    AdminToken {
        name: name.into(),
        sha256: Sha256::digest(name.as_bytes()).into(),
        tenant: tenant.into(),
        scope,
    }
}

fn settings() -> ApiSettings {
    let (write, read) = (Scope::Write, Scope::Read);
    ApiSettings {
        access: AdminSettings {
            allowed_hosts: vec!["hooks.example".into()],
            tokens: vec![token(ROOT, "*", write), token(READER, "*", read), token(OF_B, "b", write)],
            ..AdminSettings::default()
        },
        known_events: BTreeSet::from(["invoice.created".to_string()]),
        ..ApiSettings::default()
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with_role("LOGIN").await
    }

    /// `role`: the attributes of the API's role.
    pub async fn with_role(role: &str) -> Self {
        let cluster = Cluster::start();
        cluster.sql(&format!("CREATE ROLE api {role}"));
        let plan = MigrationPlan {
            schema: "tailhook".into(),
            publication: "tailhook".into(),
            tables: vec![],
            streaming_role: None,
            api_role: Some("api".into()),
        };
        let mut dba = Session::connect(&cluster.url("postgres"), Patience::ADMIN).await.unwrap();
        migrate(&mut dba, &plan).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(&folder.path().join("data")).unwrap());
        let index = Box::new(|_| Ok(Arc::new(MemoryIndex::default()) as Arc<dyn tailhook::store::Index>));
        let limits = StoreSettings { min_free: 0, ..StoreSettings::default() };
        let (store, _) = Store::open(limits, disk, index, Arc::new(SystemClock)).await.unwrap();
        let mut tasks = JoinSet::new();
        let running = store.clone();
        tasks.spawn(async move { running.run().await.unwrap() });
        let sealer = Sealer::from_base64("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
        let (held, holding) = watch::channel(false);
        let (refuse, refused) = watch::channel(Arc::default());
        tasks.spawn(follow(cluster.url("postgres"), sealer.clone(), (store.checkpoint(), refuse), holding));
        let (settings, settings_watch) = watch::channel(Arc::new(settings()));
        let health = Health::default();
        let router = router(ApiParts {
            settings: settings_watch,
            store: store.clone(),
            refused,
            subscriptions: Subscriptions::new(cluster.url("api"), "tailhook"),
            sealer,
            clock: Arc::new(SystemClock),
            metrics: Metrics::new().unwrap(),
            health: health.clone(),
            url_check: Arc::new(|url| {
                Box::pin(async move {
                    if url.contains("10.0.0.1") { Err("a private address".into()) } else { Ok(()) }
                })
            }),
            entropy: system_entropy(),
        });
        let mut first = store.history().routing();
        first.wait_for(|routing| routing.applied.0 > 0).await.unwrap();
        Self { cluster, router, store, health, held, _settings: settings, _folder: folder, _tasks: tasks }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// As tenant `a` by the root token.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_with(method, path, body, &[("authorization", "Bearer root-token"), ("x-tenant-id", "a")])
            .await
    }

    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let path = if path.starts_with("//") { path[1..].to_string() } else { format!("{BASE}{path}") };
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:9400");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    /// A POST with its own headers.
    pub async fn call_with_owned(
        &self,
        path: &str,
        body: Value,
        headers: [(&'static str, &'static str); 3],
    ) -> Answer {
        self.call_with(Method::POST, path, Some(body), &headers).await
    }

    /// A subscription of tenant `a`; its id.
    pub async fn subscribe(&self, event: &str) -> String {
        let wish = serde_json::json!({"event": event, "url": "https://a.example/hook"});
        let answer = self.call(Method::POST, "/subscriptions", Some(wish)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.json()["effective"], true);
        answer.json()["id"].as_str().unwrap().to_string()
    }

    /// What dispatch would do: an attempt that fails for good.
    pub async fn fail(&self, tenant: &str, delivery: &str) {
        let key = DeliveryKey { tenant: TenantId::new(tenant), id: DeliveryId(delivery.parse().unwrap()) };
        let outcome = Outcome {
            answer: Ok(404),
            detail: Some("not found".into()),
            retry_after_ms: None,
            duration_us: 1500,
        };
        let attempt = Attempt { number: 1, at_ms: 1_771_065_000_000, outcome, counted: true };
        let records = vec![Record::Attempted { key, attempt, next: Next::Failed }];
        self.store.checkpoint().commit(Batch { records }).await.unwrap();
    }
}
