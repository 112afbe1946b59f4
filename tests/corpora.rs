//! Every named seed of `fuzz/corpus` through what it is for, so that what a fuzzer found once is asked in every run. Those of
//! `pgoutput` called `recorded-…` are what a Postgres 15 sent. Knows no decoder.
#![allow(clippy::unwrap_used, reason = "a test")]
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tailhook::clock::SystemClock;
use tailhook::disk::RealDisk;
use tailhook::domain::*;
use tailhook::hostile::TARGETS;
use tailhook::store::*;
use uuid::Uuid;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Names in a folder, without the extension.
fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let entries =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter_map(|name| name.strip_suffix(extension).map(ToOwned::to_owned)).collect()
}

/// A test's stack is as small as that of the sidecar's own threads.
#[test]
fn every_seed_is_survived() {
    let only = std::env::var("TARGET").ok();
    for (target, run) in
        TARGETS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        let corpus = fuzz().join("corpus").join(target);
        let seeds = names(&corpus, "");
        assert!(!seeds.is_empty(), "{target} has no corpus");
        for seed in seeds {
            println!("{target}/{seed}");
            run(&std::fs::read(corpus.join(seed)).unwrap());
        }
    }
}

#[test]
fn targets_corpora_and_the_fuzzers_are_the_same() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus"), ""), targets);
    assert_eq!(names(&fuzz().join("fuzz_targets"), ".rs"), targets);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target} is not built");
    }
}

/// For each target what it must not believe, and `fault::planted` in the source does.
const PLANTED: [(&str, &str); 12] = [
    ("admin", "tenant-believed"),
    ("answer", "control-characters-kept"),
    ("expression", "brace-believed"),
    ("journal", "crc-ignored"),
    ("mapping", "quotes-not-escaped"),
    ("payload", "size-believed"),
    ("pgoutput", "decoder-overrun"),
    ("replication", "length-believed"),
    ("shadow", "crc-ignored"),
    ("signature", "stale-is-fresh"),
    ("url", "address-believed"),
    ("value", "depth-believed"),
];

/// Null controls: a process of its own for each, for a fault is planted by the environment.
#[test]
fn every_planted_fault_is_caught() {
    assert!(TARGETS.iter().map(|(target, _)| *target).eq(PLANTED.map(|(target, _)| target)), "one a target");
    for (target, fault) in PLANTED {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["every_seed_is_survived", "--exact", "--nocapture"])
            .envs([("TARGET", target), ("TAILHOOK_PLANTED", fault)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().rfind(|line| line.contains('/')).unwrap_or_default();
        println!("{fault}: {last}");
        assert!(!output.status.success() && last.starts_with(target), "{fault} was not caught: {last}");
    }
}

/// `journal/a-segment-of-the-store` is of the format that is written today; `RENEW=1` writes it anew.
#[tokio::test]
async fn the_stores_seed_is_what_the_store_writes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    let (store, _) = Store::open(
        tailhook::settings::StoreSettings::default(),
        disk,
        MemoryIndex::default().factory(),
        Arc::new(SystemClock),
    )
    .await
    .unwrap();
    let running = store.clone();
    let records = records();
    let (end, ()) = tokio::join!(running.run(), async {
        for records in records {
            store.checkpoint().commit(Batch { records }).await.unwrap();
        }
        store.close().await;
    });
    end.unwrap();
    let segment = std::fs::read(folder.path().join("journal-0000000000000001")).unwrap();
    let seed = [&[0][..], &segment].concat();
    let kept = fuzz().join("corpus/journal/a-segment-of-the-store");
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&kept, &seed).unwrap();
    }
    assert!(
        std::fs::read(kept).unwrap() == seed,
        "the format has changed: RENEW=1 cargo test --test corpora"
    );
}

/// Whose history it is.
fn identity() -> Identity {
    Identity {
        system_id: "7300000000000000001".into(),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [7; 16],
        shadow_plan: "public.invoices: status,tenant_id\n".into(),
    }
}

/// One of every kind.
fn records() -> Vec<Vec<Record>> {
    let id = Uuid::from_u128;
    let key = DeliveryKey { tenant: TenantId::new("acme"), id: DeliveryId(id(1)) };
    let event = Event {
        id: EventId(id(2)),
        name: EventName::parse("invoice.sent").unwrap(),
        tenant: key.tenant.clone(),
        resource: Some(Resource { kind: "invoice".into(), id: "7".into() }),
        timestamp_us: 1_771_065_000_123_456,
        sequence: Sequence { lsn: Lsn(9), number: 1 },
        body: Bytes::from_static(b"{\"data\":{\"total\":12.50}}"),
    };
    let subscription = Subscription {
        id: SubscriptionId(id(3)),
        tenant: key.tenant.clone(),
        pattern: Pattern::parse("invoice.*").unwrap(),
        url: "https://a.example/hook".into(),
        secret: Some(Sealed::new("sealed:v1:AAAA")),
        active: true,
        created_us: 0,
        updated_us: -1,
        options: Options { rate: Some(5), ..Options::default() },
    };
    let attempt = |answer| Attempt {
        number: 1,
        at_ms: 1_771_065_000_123,
        outcome: Outcome { answer, detail: Some("no".into()), retry_after_ms: Some(1), duration_us: 900 },
        counted: true,
    };
    let attempted = |answer, next| Record::Attempted { key: key.clone(), attempt: attempt(answer), next };
    let answer = Idempotent {
        tenant: key.tenant.clone(),
        key: "POST /deliveries k".into(),
        body_hash: [1; 32],
        status: 202,
        answer: Bytes::from_static(b"{}"),
        at_ms: 1,
    };
    let shadow = |columns: Option<&'static [u8]>| Record::Shadow {
        table: "public.invoices".into(),
        key: Bytes::from_static(b"\x027"),
        columns: columns.map(Bytes::from_static),
    };
    vec![
        vec![Record::Filling(identity()), shadow(Some(b"\0\0"))],
        vec![Record::Identity(identity()), Record::Subscription(Box::new(subscription))],
        vec![
            Record::Event(Arc::new(event)),
            Record::Delivery {
                event: EventId(id(2)),
                subscription: SubscriptionId(id(3)),
                key: key.clone(),
                target_url: "https://a.example/hook".into(),
            },
            shadow(None),
            Record::Position(Lsn(9)),
        ],
        vec![attempted(Err(Failure::Tls), Next::RetryAt(5)), attempted(Ok(500), Next::Failed)],
        vec![Record::Retried { key: key.clone(), at_ms: 6 }, attempted(Ok(204), Next::Delivered)],
        vec![
            Record::Abandoned { key: key.clone(), reason: "gone".into(), at_ms: 7 },
            Record::ShadowClear { table: "public.invoices".into() },
            Record::SubscriptionGone(SubscriptionId(id(3))),
            Record::SubscriptionsCleared,
            Record::Idempotent(Box::new(answer)),
        ],
    ]
}
