//! What needs no disk: decoding, values, the mapping, signatures.
use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use serde::Deserialize;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use tailhook::capture::{decode::pgoutput, decode::value};
use tailhook::domain::{
    Cell, Change, Column, Image, Lsn, Operation, ReplicaIdentity, Secret, Table, TenantId, Transaction,
    TypeKind,
};
use tailhook::egress::sign::sign as sign_body;
use tailhook::mapping::{Context, EventSpec, Mapping};

/// A row of an ERP's invoices: name, kind, the text that Postgres sends.
const ROW: [(&str, TypeKind, &str); 12] = [
    ("id", TypeKind::Text, "0192f0c1-7c9e-8679-9425-40de944be07f"),
    ("number", TypeKind::Text, "2026/00001234"),
    ("supplier", TypeKind::Text, "Muster & Söhne GmbH"),
    ("issue_date", TypeKind::Text, "2026-02-14"),
    ("status", TypeKind::Text, "sent"),
    ("created_at", TypeKind::TimestampTz, "2026-02-14 10:30:00.123456+00"),
    ("tenant_id", TypeKind::Text, "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ("customer_id", TypeKind::Text, "11111111-7425-40de-944b-e07fc1f90ae7"),
    ("subtotal", TypeKind::Numeric, "1037.39"),
    ("vat", TypeKind::Float, "197.11"),
    ("total", TypeKind::Numeric, "1234.50"),
    ("paid", TypeKind::Bool, "f"),
];
const RULES: &str = r#"
[[event]]
name = "invoice.created"
table = "public.invoices"
on = "insert"
tenant = "tenant_id"
data = { invoice_id = "id", invoice_number = "number", amount = "total", status = "status" }
[[event]]
name = "invoice.sent"
table = "public.invoices"
on = "update"
becomes = { status = "sent" }
when = "new.total > 0 and old.status != 'cancelled'"
tenant = "tenant_id"
"#;

/// An insert as it comes over the wire.
pub(crate) fn decode(criterion: &mut Criterion) {
    let mut message = BytesMut::new();
    message.put_u8(b'I');
    message.put_u32(16_384);
    message.put_u8(b'N');
    message.put_u16(ROW.len() as u16);
    for (_, _, text) in &ROW {
        message.put_u8(b't');
        message.put_u32(text.len() as u32);
        message.put_slice(text.as_bytes());
    }
    let message = message.freeze();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("insert of 12 columns", |b| b.iter(|| pgoutput::decode(black_box(message.clone()))));
    group.finish();
}

/// Postgres' text to JSON.
pub(crate) fn value(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("value");
    let row: Vec<(TypeKind, Bytes)> =
        ROW.iter().map(|(_, kind, text)| (kind.clone(), Bytes::from_static(text.as_bytes()))).collect();
    group.bench_function("row of 12 columns", |b| {
        b.iter(|| row.iter().map(|(kind, text)| value::render(kind, black_box(text)).len()).sum::<usize>());
    });
    let array = TypeKind::Array(Box::new(TypeKind::Numeric), b',');
    let text = Bytes::from(format!("{{{}}}", vec!["12.50"; 1000].join(",")));
    group.bench_function("array of 1000 numerics", |b| b.iter(|| value::render(&array, black_box(&text))));
    group.finish();
}

fn table() -> Arc<Table> {
    let column = |(name, kind, _): &(&str, TypeKind, &str)| Column {
        name: Arc::from(*name),
        kind: kind.clone(),
        type_oid: 25,
        type_name: "text".to_owned(),
        not_null: false,
    };
    Arc::new(Table {
        oid: 16_384,
        schema: "public".to_owned(),
        name: "invoices".to_owned(),
        columns: ROW.iter().map(column).collect(),
        primary_key: vec![0],
        replica_identity: ReplicaIdentity::Default,
    })
}

fn image() -> Image {
    let cell = |(_, kind, text): &(&str, TypeKind, &'static str)| {
        Cell::Json(value::render(kind, &Bytes::from_static(text.as_bytes())))
    };
    ROW.iter().map(cell).collect()
}

/// Rules on a transaction: an insert, then an update whose old row comes from the shadow.
pub(crate) fn mapping(criterion: &mut Criterion) {
    #[derive(Deserialize)]
    struct File {
        event: Vec<EventSpec>,
    }
    let file = toml::from_str::<File>(RULES).map(|file| file.event).unwrap_or_default();
    let Ok(mapping) = Mapping::compile(file.into_iter().enumerate().collect()) else { return };
    let context = Context {
        system_id: "7300000000000000001".to_owned(),
        source: "gestiqcloud".to_owned(),
        max_payload: 256 * 1024,
        operations: TenantId::new("operations"),
    };
    // what the shadow knows: the row as a draft
    let mut draft = image();
    draft[4] = Cell::Json(Bytes::from_static(b"\"draft\""));
    let remembered = mapping.plan().table("public.invoices").and_then(|plan| {
        let tracked = plan.columns.iter().filter_map(|name| Some(draft[table().position(name)?].clone()));
        plan.encode_row(&draft[..1], &tracked.collect::<Vec<_>>())
    });
    let columns = remembered.map(|(_, columns)| columns);
    let mut group = criterion.benchmark_group("mapping");
    for (name, op, changes) in [
        ("insert to one event", Operation::Insert, 1),
        ("update with the shadow to one event", Operation::Update, 1),
        ("100 updates of a transaction", Operation::Update, 100),
    ] {
        let (table, image) = (table(), image());
        let change = |n: usize| {
            let mut new = image.clone();
            new[0] = Cell::Json(Bytes::from(format!("\"0192f0c1-7c9e-8679-9425-{n:012x}\"").into_bytes()));
            Change { op, table: table.clone(), old: None, new: Some(new) }
        };
        let transaction = Transaction {
            xid: 700,
            commit_lsn: Lsn(0x1000),
            end_lsn: Lsn(0x1030),
            commit_us: 1_771_065_000_123_456,
            changes: (0..changes).map(change).collect(),
        };
        let look = |_: &str, _: &[u8]| Ok::<_, Infallible>(columns.clone());
        let events = mapping.derive(&transaction, &context, &look).map_or(0, |derived| derived.events.len());
        assert_eq!(events, changes, "{name}: what is measured must be what is meant");
        group.throughput(Throughput::Elements(changes as u64));
        group.bench_function(name, |b| b.iter(|| mapping.derive(black_box(&transaction), &context, &look)));
    }
    group.finish();
}

/// Both signatures of an attempt.
pub(crate) fn sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sign");
    let secret = || Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for (name, length, secrets) in [
        ("body of 512 bytes", 512, 1),
        ("body of 512 bytes while a secret is rotated", 512, 2),
        ("body of 256 KiB", 256 * 1024, 1),
    ] {
        let body = vec![b'x'; length];
        let secrets: Vec<Secret> = (0..secrets).map(|_| secret()).collect();
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || "0192f0c1-7c9e-8679-9425-40de944be07f",
                |id| sign_body(id, 1_771_065_000, black_box(&body), &secrets),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
