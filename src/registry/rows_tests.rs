//! Rows of `webhook_subscriptions`, case by case.
use super::*;
use crate::domain::{Column, ReplicaIdentity, TypeKind};
use crate::registry::{self, RefusedRows};
use crate::store::Record;
use serde_json::json;
use std::sync::Arc;

const NAMES: [&str; 9] =
    ["id", "tenant_id", "event", "url", "secret", "active", "created_at", "updated_at", "options"];

fn table() -> Arc<Table> {
    let column = |name: &&str| Column {
        name: Arc::from(*name),
        kind: TypeKind::Text,
        type_oid: 25,
        type_name: "text".into(),
        not_null: false,
    };
    // the order of a real table is not ours to choose
    let columns = NAMES.iter().rev().map(column).collect();
    let (schema, name) = ("tailhook".into(), "webhook_subscriptions".into());
    Arc::new(Table {
        oid: 1,
        schema,
        name,
        columns,
        primary_key: vec![8],
        replica_identity: ReplicaIdentity::Default,
    })
}

fn row() -> Value {
    json!({
        "id": "00000000-0000-0000-0000-000000000001", "tenant_id": "t1", "event": "Invoice.*", "url": "https://a.example/hook",
        "secret": "12345678", "active": true, "created_at": "2026-02-14T10:30:00.123456+00:00",
        "updated_at": "2026-02-14T10:30:00+00:00", "options": {"rate": 5}
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut row = row();
    row[name] = value;
    row
}

/// JSON null is SQL NULL, the word `?` is "not sent".
fn image(row: &Value) -> Image {
    let cell = |name: &&str| match &row[*name] {
        Value::Null => Cell::Null,
        value if value == "?" => Cell::NotSent,
        value => Cell::Json(value.to_string().into()),
    };
    NAMES.iter().rev().map(cell).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "reads better at the place of use")]
fn change(op: Operation, old: Option<Value>, new: Option<Value>) -> Change {
    Change { op, table: table(), old: old.as_ref().map(image), new: new.as_ref().map(image) }
}

fn sealer() -> Sealer {
    Sealer::from_base64("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap()
}

fn guard(url: &str) -> Result<(), String> {
    if url.contains("10.0.0.1") { Err("a private address".into()) } else { Ok(()) }
}

fn run(change: &Change, routing: &Routing) -> Vec<RowChange> {
    let sealer = sealer();
    changes(change, routing, RowRules { sealer: &sealer, url: &guard })
}

/// What must be journaled for it.
fn apply(routing: &mut Routing, change: RowChange) -> Record {
    registry::apply(change, routing, &mut RefusedRows::new())
}

fn id(n: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(n))
}

fn put(changes: Vec<RowChange>) -> Subscription {
    match changes.into_iter().last() {
        Some(RowChange::Put(subscription)) => *subscription,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_insert_is_read_by_name_sealed_and_the_same_again() {
    let insert = change(Operation::Insert, None, Some(row()));
    let read = put(run(&insert, &Routing::default()));
    assert_eq!((read.id, read.tenant.as_str(), read.pattern.to_string()), (id(1), "t1", "invoice.*".into()));
    assert_eq!((read.created_us, read.updated_us), (1_771_065_000_123_456, 1_771_065_000_000_000));
    assert_eq!((read.active, read.options.rate), (true, Some(5)));
    let sealed = read.secret.clone().unwrap();
    assert!(Sealer::is_sealed(sealed.as_str()));
    assert_eq!(sealer().open(id(1), Field::Secret, &sealed).unwrap().expose(), "12345678");
    assert_eq!(put(run(&insert, &Routing::default())), read);
    let values: Vec<Option<String>> = NAMES.iter().map(|n| Some(row()[*n].to_string())).collect();
    let sealer = sealer();
    let from_snapshot = snapshot_row(&NAMES, &values, RowRules { sealer: &sealer, url: &guard });
    assert_eq!(from_snapshot, Some(RowChange::Put(Box::new(read))));
}

#[test]
fn a_tenant_may_be_a_number_and_a_null_is_not_active() {
    let read = |name, value| {
        put(run(&change(Operation::Insert, None, Some(with(name, value))), &Routing::default()))
    };
    assert_eq!(read("tenant_id", json!(7)).tenant.as_str(), "7");
    assert!(!read("active", json!(null)).active);
    assert_eq!(read("options", json!(null)).options, Options::default());
}

#[test]
fn secrets_empty_null_sealed_and_clear() {
    for none in [json!(""), json!(null)] {
        assert_eq!(
            put(run(&change(Operation::Insert, None, Some(with("secret", none))), &Routing::default()))
                .secret,
            None
        );
    }
    let sealed = sealer().seal(id(1), Field::Secret, &Secret::new("abcdefgh"), [1; 24]);
    let row = with("secret", json!(sealed.as_str()));
    assert_eq!(
        put(run(&change(Operation::Insert, None, Some(row)), &Routing::default())).secret,
        Some(sealed)
    );
    let clear = Sealer::plaintext();
    let insert = change(Operation::Insert, None, Some(self::row()));
    let read = changes(&insert, &Routing::default(), RowRules { sealer: &clear, url: &guard });
    assert_eq!(put(read).secret.unwrap().as_str(), "12345678");
}

#[test]
fn headers_are_sealed_for_their_row_and_sealed_ones_stay() {
    let headers = json!({"headers": {"X-Api-Key": "hunter2"}, "rate": 5});
    let insert = change(Operation::Insert, None, Some(with("options", headers.clone())));
    let read = put(run(&insert, &Routing::default()));
    let field = Field::Header("x-api-key");
    let sealed = &read.options.headers["x-api-key"];
    assert!(Sealer::well_formed(field, sealed.as_str()));
    assert_eq!(sealer().open(id(1), field, sealed).unwrap().expose(), "hunter2");
    assert_eq!(read.options.rate, Some(5));
    assert_eq!(put(run(&insert, &Routing::default())), read, "the same row gives the same text");
    let again = with("options", serde_json::to_value(&read.options).unwrap());
    assert_eq!(put(run(&change(Operation::Update, None, Some(again)), &Routing::default())), read);
    let clear = Sealer::plaintext();
    let read = changes(&insert, &Routing::default(), RowRules { sealer: &clear, url: &guard });
    assert_eq!(put(read).options.headers["x-api-key"].as_str(), "hunter2");
}

#[test]
fn a_row_whose_id_changes_takes_what_was_not_sent_along() {
    let mut routing = Routing::default();
    let headers = json!({"headers": {"x-api-key": "hunter2"}});
    for change in run(&change(Operation::Insert, None, Some(with("options", headers))), &routing.clone()) {
        apply(&mut routing, change);
    }
    let mut key = json!({"id": "00000000-0000-0000-0000-000000000001"});
    for name in &NAMES[1..] {
        key[*name] = json!("?");
    }
    let mut moved = with("id", json!("00000000-0000-0000-0000-000000000002"));
    (moved["options"], moved["secret"]) = (json!("?"), json!("?"));
    let read = put(run(&change(Operation::Update, Some(key), Some(moved)), &routing));
    let open = |field, sealed| sealer().open(id(2), field, sealed).unwrap();
    assert_eq!(open(Field::Secret, read.secret.as_ref().unwrap()).expose(), "12345678");
    assert_eq!(open(Field::Header("x-api-key"), &read.options.headers["x-api-key"]).expose(), "hunter2");
}

#[test]
fn what_the_validation_refuses_is_named_and_not_routed() {
    for (name, value, reason) in [
        ("url", json!("https://10.0.0.1/hook"), "private address"),
        ("url", json!("nonsense-nonsense"), "url"),
        ("url", json!(null), "url"),
        ("event", json!("Not An Event"), "event"),
        ("tenant_id", json!(null), "tenant_id"),
        ("secret", json!("short"), "secret"),
        ("secret", json!("sealed:v1:AAAA"), "damaged"),
        ("options", json!([]), "options"),
        ("options", json!({"headers": {"x-a": "sealed:v1:AAAA"}}), "not for a header"),
        ("options", json!({"headers": {"x-a": "sealed:v2:AAAA"}}), "damaged"),
        ("options", json!({"headers": {"http2-settings": "12345678"}}), "set by the sender"),
        ("options", json!({"filter": "x"}), "not supported yet"),
        ("options", json!({"profile": "standard"}), "not supported yet"),
        ("options", json!({"colour": 1}), "colour"),
        ("created_at", json!("infinity"), "created_at"),
        ("active", json!("yes"), "active"),
        ("options", json!("?"), "not sent"),
    ] {
        let found =
            run(&change(Operation::Insert, None, Some(with(name, value.clone()))), &Routing::default());
        let [RowChange::Refused(of, why)] = found.as_slice() else { panic!("{name} {value}: {found:?}") };
        assert_eq!(*of, id(1));
        assert!(why.contains(reason), "{name} {value}: {why}");
        assert!(!why.contains("12345678"));
    }
    // soft-deleted rows need no allowed address
    let mut gone = with("url", json!("https://10.0.0.1/hook"));
    gone["active"] = json!(false);
    assert!(!put(run(&change(Operation::Update, None, Some(gone)), &Routing::default())).active);
}

#[test]
fn a_column_that_was_dropped_is_named() {
    let mut bare = change(Operation::Insert, None, Some(row()));
    let mut table = Table::clone(&table());
    table.columns.retain(|c| &*c.name != "options");
    bare.new = bare.new.map(|new| new[1..].to_vec());
    bare.table = Arc::new(table);
    let found = run(&bare, &Routing::default());
    assert!(matches!(&found[..], [RowChange::Refused(_, why)] if why.contains("options")), "{found:?}");
}

#[test]
fn values_not_sent_come_from_the_old_row_or_from_the_routing() {
    let mut routing = Routing::default();
    for change in run(&change(Operation::Insert, None, Some(row())), &routing.clone()) {
        apply(&mut routing, change);
    }
    let known = routing.get(id(1)).unwrap().as_ref().clone();
    let mut update = row();
    for name in ["secret", "options", "url", "event", "tenant_id"] {
        update[name] = json!("?");
    }
    update["updated_at"] = json!("2026-02-14T10:31:00+00:00");
    let read = put(run(&change(Operation::Update, None, Some(update.clone())), &routing));
    assert_eq!(read, Subscription { updated_us: 1_771_065_060_000_000, ..known });
    let old = with("url", json!("https://old.example/hook"));
    let full = put(run(&change(Operation::Update, Some(old), Some(update)), &Routing::default()));
    assert_eq!((full.url.as_str(), full.options.rate), ("https://old.example/hook", Some(5)));
}

#[test]
fn keys_deletes_and_truncates() {
    let mut key = json!({"id": "00000000-0000-0000-0000-000000000001"});
    for name in &NAMES[1..] {
        key[*name] = json!("?");
    }
    let mut routing = Routing::default();
    for change in run(&change(Operation::Insert, None, Some(row())), &routing.clone()) {
        assert!(matches!(apply(&mut routing, change), Record::Subscription(_)));
    }
    let mut moved = with("id", json!("00000000-0000-0000-0000-000000000002"));
    moved["options"] = json!("?");
    let found = run(&change(Operation::Update, Some(key.clone()), Some(moved)), &routing);
    assert_eq!(found[0], RowChange::Gone(id(1)));
    let read = put(found);
    assert_eq!((read.id, read.options.rate), (id(2), Some(5)));
    assert_eq!(run(&change(Operation::Delete, Some(key), None), &routing), vec![RowChange::Gone(id(1))]);
    assert_eq!(run(&change(Operation::Delete, Some(row()), None), &routing), vec![RowChange::Gone(id(1))]);
    assert_eq!(run(&change(Operation::Truncate, None, None), &routing), vec![RowChange::Cleared]);
    assert_eq!(run(&change(Operation::Delete, None, None), &routing), vec![]);
    assert_eq!(run(&change(Operation::Insert, None, Some(with("id", json!(7)))), &routing), vec![]);
}

#[test]
fn applying_gives_what_must_be_journaled() {
    let (mut routing, mut refused) = (Routing::default(), RefusedRows::new());
    let one = put(run(&change(Operation::Insert, None, Some(row())), &routing));
    let record = registry::apply(RowChange::Put(Box::new(one.clone())), &mut routing, &mut refused);
    assert_eq!(record, Record::Subscription(Box::new(one)));
    assert_eq!(routing.of_tenant(&TenantId::new("t1")).count(), 1);
    // a row that turns bad stops being routed, and stays so after a restart
    let record = registry::apply(RowChange::Refused(id(1), "why".into()), &mut routing, &mut refused);
    assert_eq!((record, routing.get(id(1))), (Record::SubscriptionGone(id(1)), None));
    assert_eq!(refused, RefusedRows::from([(id(1), "why".into())]));
    let again = put(run(&change(Operation::Update, None, Some(row())), &routing));
    registry::apply(RowChange::Put(Box::new(again)), &mut routing, &mut refused);
    assert_eq!(refused, RefusedRows::new());
    for (change, record) in [
        (RowChange::Gone(id(1)), Record::SubscriptionGone(id(1))),
        (RowChange::Cleared, Record::SubscriptionsCleared),
    ] {
        registry::apply(RowChange::Refused(id(1), "why".into()), &mut routing, &mut refused);
        assert_eq!(registry::apply(change, &mut routing, &mut refused), record);
        assert_eq!(refused, RefusedRows::new(), "a row that is gone is not refused");
    }
}

/// An SQL UPDATE may give a row to another tenant: from that commit on it is that tenant's alone.
#[test]
fn a_row_that_changes_its_tenant_serves_the_old_one_no_more() {
    let (one, two) = (TenantId::new("t1"), TenantId::new("t2"));
    let name = crate::domain::EventName::parse("invoice.sent").unwrap();
    let mut routing = Routing::default();
    let step = |routing: &mut Routing, old: Option<Value>, new: Value| {
        let op = if old.is_some() { Operation::Update } else { Operation::Insert };
        for change in run(&change(op, old, Some(new)), &routing.clone()) {
            apply(routing, change);
        }
    };
    let asked = |routing: &Routing, tenant: &TenantId| {
        (routing.of_tenant(tenant).count(), routing.route(tenant, &name).count())
    };
    step(&mut routing, None, row());
    // with and without the old row, all values sent or only what changed
    let mut short = with("tenant_id", json!("t1"));
    for unsent in ["event", "url", "secret", "options"] {
        short[unsent] = json!("?");
    }
    for (old, new, now) in [
        (Some(row()), with("tenant_id", json!("t2")), &two),
        (Some(with("tenant_id", json!("t2"))), short, &one),
        (None, with("tenant_id", json!("t2")), &two),
    ] {
        step(&mut routing, old, new);
        let before = if now == &two { &one } else { &two };
        assert_eq!((asked(&routing, before), asked(&routing, now)), ((0, 0), (1, 1)), "now {now:?}");
        assert_eq!(&routing.get(id(1)).unwrap().tenant, now);
    }
}
