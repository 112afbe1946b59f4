//! Everything that reads bytes from outside, as one list of functions of bytes: `fuzz/` calls each with bytes that nobody
//! thought of, `tests/corpora` with those that somebody did. They call and compare; what they call is the code that runs.
//! What is private to a stage is called from its own `hostile`. Not for the sidecar: only the feature `hostile` builds it.
use crate::cli::verify;
use crate::config;
use crate::domain::{
    Cell, Change, Column, Lsn, Operation, ReplicaIdentity, Secret, Table, TenantId, Transaction, TypeKind,
};
use crate::egress::answer::{printable, retry_after_ms};
use crate::egress::{Guard, refused, sign};
use crate::mapping::{Context, Mapping};
use crate::registry::validate;
use crate::settings::EgressSettings;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

pub use crate::admin::hostile::{payload, requests as admin};
pub use crate::capture::hostile::{pgoutput, rendering as value, replication};
pub use crate::mapping::hostile::expression;
pub use crate::store::hostile::{journal, shadow};

/// What is given bytes.
pub type Target = fn(&[u8]);

/// Every one, by its name: that of `fuzz/fuzz_targets/NAME.rs` and `fuzz/corpus/NAME/`.
pub const TARGETS: [(&str, Target); 12] = [
    ("admin", admin),
    ("answer", answer),
    ("expression", expression),
    ("journal", journal),
    ("mapping", mapping),
    ("payload", payload),
    ("pgoutput", pgoutput),
    ("replication", replication),
    ("shadow", shadow),
    ("signature", signature),
    ("url", url),
    ("value", value),
];

/// A configuration file; then a transaction over the tables that its mapping names.
pub fn mapping(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let environment = |name: &str| (name == "PGPASSWORD").then(|| "pw".to_owned());
    let config = match config::parse("fuzz.toml", Path::new("/"), &text, &environment) {
        Ok(config) => config,
        Err(problems) => {
            let lines = text.matches('\n').count() + 1;
            assert!(problems.found().iter().all(|(line, _)| *line <= lines), "{problems}");
            return;
        }
    };
    derive(&config.mapping);
}

/// Each change is a transaction of its own: within one, what follows would hide what was before.
fn derive(mapping: &Mapping) {
    let context = Context {
        system_id: "1".into(),
        source: "gestiqcloud".into(),
        max_payload: 64 << 10,
        operations: TenantId::new("operations"),
    };
    for change in changes(mapping) {
        let (commit_lsn, end_lsn, commit_us, changes) = (Lsn(1), Lsn(2), i64::MIN, vec![change]);
        let transaction = Transaction { xid: 1, commit_lsn, end_lsn, commit_us, changes };
        let derived = mapping
            .derive(&transaction, &context, &|_, _| Ok::<_, Infallible>(None))
            .expect("the shadow answers");
        for event in &derived.events {
            assert!(serde_json::from_slice::<&RawValue>(&event.body).is_ok(), "{event:?}");
        }
    }
}

/// Every operation on every table that the mapping names.
fn changes(mapping: &Mapping) -> Vec<Change> {
    let mut changes = Vec::new();
    for needs in mapping.tables() {
        let column = |name: &Arc<str>| Column {
            name: Arc::clone(name),
            kind: TypeKind::Text,
            type_oid: 25,
            type_name: "text".into(),
            not_null: false,
        };
        let table = Arc::new(Table {
            oid: 1,
            schema: needs.schema,
            name: needs.name,
            columns: needs.columns.iter().map(column).collect(),
            primary_key: if needs.columns.is_empty() { Vec::new() } else { vec![0] },
            replica_identity: ReplicaIdentity::Default,
        });
        let image =
            |json: &'static [u8]| Some(vec![Cell::Json(Bytes::from_static(json)); table.columns.len()]);
        for (op, old, new) in [
            (Operation::Insert, None, image(b"\"\\\"\\u0001\"")),
            (Operation::Update, image(b"\"\\\"\\u0001\""), image(b"12.50")),
            (Operation::Delete, image(b"12.50"), None),
            (Operation::Truncate, None, None),
        ] {
            changes.push(Change { op, table: Arc::clone(&table), old, new });
        }
    }
    changes
}

/// A secret, header lines as `tailhook verify` takes them, and a body, parted by NUL.
pub fn signature(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let secret = Secret::new(String::from_utf8_lossy(part()).into_owned());
    let headers = verify::parse(&String::from_utf8_lossy(part())).unwrap_or_default();
    let body = part();
    believed(&headers, body, &secret);
    // what nobody can guess is signed here
    let find = |name: &str| headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
    let (id, time) = (find("webhook-id"), find("webhook-timestamp").parse().unwrap_or(i64::MIN));
    let made = sign::sign(id, time, body, std::slice::from_ref(&secret)).expect("there is a secret");
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [
        header("Webhook-Id", id),
        header("webhook-timestamp", &time.to_string()),
        header("webhook-signature", &made.webhook_signature),
        header("X-Signature", &made.x_signature),
    ];
    assert!(believed(&headers, body, &secret), "our own signature holds");
}

/// Is it verified? Then it must not be for another body, nor long after.
fn believed(headers: &[(String, String)], body: &[u8], secret: &Secret) -> bool {
    let Ok(verified) = sign::verify(headers, body, secret, None) else { return false };
    assert!(verified.x_signature || verified.webhook_signature);
    let longer = [body, b" "].concat();
    assert!(sign::verify(headers, &longer, secret, None).is_err(), "another body");
    if let Some(at) = verified.timestamp {
        let late = at.saturating_add(sign::TOLERANCE_S + 1);
        assert_eq!(sign::verify(headers, body, secret, Some(late)).is_err(), late - at > sign::TOLERANCE_S);
    }
    true
}

/// A URL to the guard: as it is shipped, and with everything open that a setting can open.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shipped = EgressSettings::default();
    let open = EgressSettings {
        allow_http: true,
        allow_networks: ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect(),
        ..EgressSettings::default()
    };
    for settings in [shipped, open] {
        let guard = Guard::new(&settings);
        let Ok(target) = guard.parse(&text) else { continue };
        assert!(target.https || settings.allow_http, "{target:?}");
        assert!(settings.ports.contains(&target.port) || !settings.allow_networks.is_empty(), "{target:?}");
        assert!(
            text.chars().count() < 10 || validate::url(&text).is_ok(),
            "the API takes what the guard takes"
        );
        assert!(!target.authority.contains('@') && http::HeaderValue::try_from(&target.authority).is_ok());
        assert!(
            target.path.starts_with('/') && target.path.bytes().all(|b| b.is_ascii_graphic()),
            "{target:?}"
        );
        let name = target.server_name();
        assert!(!name.is_empty() && !name.ends_with('.') && !name.contains(['[', ']']), "{target:?}");
        if let Some(ip) = target.literal() {
            assert_eq!(refused(ip, &settings.allow_networks), None, "{target:?}");
        }
        let scheme = if target.https { "https" } else { "http" };
        let sent = format!("{scheme}://{}{}", target.authority, target.path);
        // what is no ASCII takes up to three times its bytes, and then the longest may be too long
        assert!(sent.len() <= text.len() * 3 + 300, "{sent}");
        if sent.len() <= 2048 {
            assert_eq!(guard.parse(&sent).as_ref(), Ok(&target), "what is sent means what was judged");
        }
    }
}

/// What a receiver answers: `Retry-After`, and text for people.
pub fn answer(data: &[u8]) {
    for now_ms in [0, i64::MAX, i64::MIN, 784_111_777_000] {
        let _ = retry_after_ms(&String::from_utf8_lossy(data), now_ms);
    }
    let Some(line) = printable(data) else { return };
    assert!((1..=500).contains(&line.chars().count()) && !line.chars().any(char::is_control), "{line:?}");
}
