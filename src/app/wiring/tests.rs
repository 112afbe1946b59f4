//! Every setting of the file reaches the one place that it is for: all values differ from each other and from their defaults, so
//! that none can stand in for another.
use super::*;
use crate::config;
use crate::domain::Ordering;
use crate::settings::{BackoffSettings, BreakerSettings, DispatchSettings, PerEndpoint, Scope};
use crate::store;
use std::path::Path;

const FILE: &str = r#"
[database]
url = "postgres://stream@h/d"
api_url = "postgres://api@h/d"
slot = "slot_1"
publication = "publication_1"
schema = "schema_1"
heartbeat = "31s"
[store]
path = "/data"
history = "9d"
history_max = 1001
min_free = "3MiB"
[secrets]
master_key_file = "/key"
[delivery]
timeout = "11s"
max_retries = 12
user_agent = "Agent/1"
source = "source_1"
backoff = { base = "3s", factor = 2.5, max = "37m", jitter = 0.25 }
expire_after = "41h"
max_pending = 1002
ordering = "none"
max_payload = "5KiB"
concurrency = 103
per_endpoint = { concurrency = 17, rate = 19, burst = 23 }
breaker = { failures = 7, open_for = "29s" }
[egress]
allow_http = true
allow_networks = ["10.20.0.0/16"]
ports = [444]
ca_files = ["/ca.pem"]
[admin]
listen = "127.0.0.1:9555"
allowed_hosts = ["hooks.example"]
[[admin.token]]
name = "reader"
sha256 = "abababababababababababababababababababababababababababababababab"
tenant = "t1"
scope = "read"
[[admin.token]]
name = "writer"
sha256 = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
tenant = "*"
scope = "write"
[operations]
tenant = "operations_1"
[[event]]
name = "invoice.created"
table = "public.invoices"
on = "insert"
tenant = "tenant_id"
"#;

fn read() -> Config {
    config::parse("t.toml", Path::new("/"), FILE, &|_| None).unwrap()
}

#[test]
fn each_setting_of_delivery_arrives_as_itself() {
    let expected = DispatchSettings {
        timeout: Duration::from_secs(11),
        max_retries: 12,
        backoff: BackoffSettings {
            base: Duration::from_secs(3),
            factor: 2.5,
            max: Duration::from_secs(37 * 60),
            jitter: 0.25,
        },
        expire_after: Duration::from_secs(41 * 3600),
        max_pending: 1002,
        ordering: Ordering::None,
        concurrency: 103,
        per_endpoint: PerEndpoint { concurrency: 17, rate: 19, burst: 23 },
        breaker: BreakerSettings { failures: 7, open_for: Duration::from_secs(29) },
    };
    assert_eq!(read().dispatch, expected);
    for (word, ordering) in
        [("resource", Ordering::Resource), ("endpoint", Ordering::Endpoint), ("none", Ordering::None)]
    {
        let text = FILE.replace("ordering = \"none\"", &format!("ordering = {word:?}"));
        let config = config::parse("t.toml", Path::new("/"), &text, &|_| None).unwrap();
        assert_eq!(config.dispatch.ordering, ordering);
    }
}

#[test]
fn each_setting_of_the_other_sections_arrives_as_itself() {
    let config = read();
    let out = &config.egress;
    assert!(out.allow_http && out.user_agent == "Agent/1" && out.ports == [444]);
    assert_eq!(out.allow_networks, ["10.20.0.0/16".parse().unwrap()]);
    assert_eq!(out.ca_files, [Path::new("/ca.pem")]);
    let kept = folder(&config.store);
    assert_eq!((kept.history, kept.history_max), (Duration::from_secs(9 * 86_400), 1001));
    assert_eq!((kept.min_free, config.data_folder.as_path()), (3 << 20, Path::new("/data")));
    let api = callers(&config);
    assert_eq!(
        (api.access.listen.port(), api.access.allowed_hosts),
        (9555, vec!["hooks.example".to_owned()])
    );
    assert_eq!((api.envelope.source.as_str(), api.envelope.max_payload), ("source_1", 5 << 10));
    assert_eq!(api.known_events, BTreeSet::from(["invoice.created".to_owned()]));
    let tokens: Vec<_> =
        api.access.tokens.iter().map(|t| (&*t.name, t.sha256[0], &*t.tenant, t.scope)).collect();
    assert_eq!(tokens, [("reader", 0xab, "t1", Scope::Read), ("writer", 0xcd, "*", Scope::Write)]);
}

/// What capture is given beside the database itself.
#[tokio::test]
async fn capture_follows_the_slot_and_speaks_as_it_is_told() {
    let (config, home) = (read(), tempfile::tempdir().unwrap());
    let clock: SharedClock = Arc::new(crate::clock::SystemClock);
    let disk = Arc::new(RealDisk::open(&home.path().join("data")).unwrap());
    let index = store::MemoryIndex::default().factory();
    let (store, _) = Store::open(StoreSettings::default(), disk, index, clock.clone()).await.unwrap();
    let shared = Shared {
        store,
        refused: watch::channel(Arc::default()).1,
        sealer: Sealer::plaintext(),
        clock,
        metrics: Metrics::new().unwrap(),
        health: admin::Health::default(),
        egress: config.egress.clone(),
    };
    let options = RunOptions { accept_gap: Some("0/1-0/2".into()) };
    let publish = (watch::channel(Arc::default()).0, watch::channel(capture::CaptureStatus::default()).0);
    let parts = capture(&config, &options, &shared, publish).unwrap();
    let (rules, identity) = (&parts.rules, &parts.identity);
    assert_eq!((&*identity.slot, &*identity.publication), ("slot_1", "publication_1"));
    assert_eq!(rules.subscriptions, "schema_1.webhook_subscriptions");
    assert_eq!((&*rules.envelope.source, rules.envelope.max_payload), ("source_1", 5 << 10));
    assert_eq!(rules.envelope.operations, "operations_1");
    assert_eq!(parts.accept_gap.as_deref(), Some("0/1-0/2"));
    assert!(
        (rules.check_url)("https://10.20.0.1/hook").is_ok()
            && (rules.check_url)("https://10.21.0.1/hook").is_err()
    );
}
