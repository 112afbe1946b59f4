//! A data folder of format 0, written by the version before formats had numbers (`fixtures/format-0`), opens with everything in it.
use crate::house::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use tailhook::disk::RealDisk;
use tailhook::domain::*;
use tailhook::registry::seal::{Field, Sealer};
use tailhook::store::*;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/fixtures/format-0")
}

/// A copy of the fixture's data folder, to be opened.
pub(crate) fn copied(to: &Path) -> PathBuf {
    let folder = to.join("data");
    crate::real::copy(&fixture().join("data"), &folder);
    folder
}

pub(crate) async fn open(folder: &Path) -> (Store, Recovery) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let index = Engine::Lsm.factory(folder.join("index"), index::lsm::MEMORY_BYTES);
    let clock = Arc::new(HandClock(AtomicI64::new(NOON_MS * 1000)));
    let (store, recovery) = Store::open(settings(), disk, index, clock).await.unwrap();
    store.finish_rebuild().await.unwrap();
    (store, recovery)
}

/// Status, attempts, name and the last digits of the resource, in the order of the lane.
async fn lane_of(store: &Store, url: &str) -> String {
    let subscriptions = store.checkpoint().subscriptions();
    let lane = subscriptions.iter().find(|s| s.url.ends_with(url)).unwrap().id;
    let due = store.outbox().due(lane, None, 100).await.unwrap();
    assert!(due.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let mut words = Vec::new();
    for pending in &due {
        let delivery = store.history().delivery(&pending.key).await.unwrap().unwrap();
        assert_eq!((delivery.status, delivery.attempts), (Status::Pending, pending.attempts));
        let event = event_of(store, &pending.key).await.unwrap().unwrap();
        assert_eq!(event.id, delivery.event_id);
        let id = &event.resource.as_ref().unwrap().id;
        words.push(format!("{} {} {}", event.name.as_str(), &id[34..], pending.attempts));
    }
    words.join(", ")
}

/// Everything that the fixture's README says is in it.
pub(crate) async fn holds_everything(store: &Store) {
    assert_eq!(store.checkpoint().position(), Some(Lsn(0x0155_6CC0)));
    let identity = store.checkpoint().identity().unwrap();
    assert_eq!((identity.slot.as_str(), identity.publication.as_str()), ("tailhook", "tailhook"));
    assert_eq!(identity.shadow_plan, "public.invoices: status,tenant_id\n");
    assert_eq!(store.checkpoint().filling(), None);
    assert_eq!(
        lane_of(store, "/erp").await,
        "invoice.created 11 1, invoice.created 12 1, invoice.created 13 1, invoice.created 14 1, invoice.created 15 0, invoice.sent 01 0, invoice.sent 11 0, invoice.sent 12 0"
    );
    assert_eq!(
        lane_of(store, "/other").await,
        "invoice.created 21 1, invoice.created 22 0, invoice.created 23 0, invoice.created 24 0"
    );
    assert_eq!(lane_of(store, "/none").await, "invoice.sent 01 1, invoice.sent 11 1, invoice.sent 12 1");
    assert_eq!((store.outbox().lanes().await.unwrap().len(), store.vitals().pending), (3, 15));
    let all = Filter { limit: 100, ..Filter::default() };
    let list = store.history().list(&TenantId::new(TENANT), &all).await.unwrap().deliveries;
    let delivered: Vec<_> = list.iter().filter(|d| d.status == Status::Delivered).collect();
    assert_eq!((list.len(), delivered.len()), (36, 25));
    for delivery in delivered {
        assert!(event_of(store, &delivery.key).await.unwrap().is_some_and(|event| event.body.len() > 700));
    }
    assert_eq!(store.history().list(&TenantId::new(OTHER), &all).await.unwrap().deliveries.len(), 4);
    for (row, status) in [(0x01, "sent"), (0x05, "draft"), (0x11, "sent"), (0x15, "draft"), (0x24, "draft")] {
        let mut key = vec![3];
        key.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, row]);
        let columns = shadow_of(store, "public.invoices: status,tenant_id", &key).await.unwrap().unwrap();
        assert!(columns.windows(status.len()).any(|part| part == status.as_bytes()), "row {row:x}");
    }
}

/// With the fixture's key.
pub(crate) fn sealer() -> Sealer {
    Sealer::from_base64(&fs::read_to_string(fixture().join("master.key")).unwrap()).unwrap()
}

/// The end of each subscription's URL, its secret, its headers: opened, whether they are sealed or not.
pub(crate) fn subscriptions(store: &Store) -> Vec<String> {
    let sealer = sealer();
    let line = |s: Subscription| {
        let secret = sealer.open(s.id, Field::Secret, s.secret.as_ref().unwrap()).unwrap();
        let open = |(name, value): (&String, _)| {
            let value = sealer.open(s.id, Field::Header(name), value).unwrap();
            format!("{name}={}", value.expose())
        };
        let headers: Vec<_> = s.options.headers.iter().map(open).collect();
        format!("{} {} {}", s.url.rsplit('/').next().unwrap(), secret.expose(), headers.join(" "))
    };
    let mut lines: Vec<String> = store.checkpoint().subscriptions().into_iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_folder_of_format_0_opens_with_everything_in_it() {
    for keep_index in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let folder = copied(home.path());
        if !keep_index {
            fs::remove_dir_all(folder.join("index")).unwrap();
        }
        let (store, recovery) = open(&folder).await;
        // the index that lies there is of an earlier format too
        assert_eq!((recovery.torn_bytes, recovery.rebuilt.is_some()), (0, true));
        holds_everything(&store).await;
        assert_eq!(
            subscriptions(&store),
            [
                "erp canary-secret-dead-0002 authorization=Bearer canary-header-authorization-0002 x-api-key=canary-header-api-key-0002",
                "hook canary-secret-live-0001 x-early=canary-header-early-0001",
                "none canary-secret-none-0004 ",
                "other canary-secret-other-0003 x-token=canary-header-token-0003",
            ]
        );
    }
}

/// What the fixture is for: the clear headers lie in its files, in the journal and in the checkpoint.
#[test]
fn the_fixture_holds_clear_headers_and_no_clear_secret() {
    let mut found = Vec::new();
    for entry in fs::read_dir(fixture().join("data")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            assert!(!text.contains("canary-secret-"), "{:?}", entry.path());
            if text.contains("canary-header-") {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    found.sort();
    assert_eq!(found, ["journal-0000000000000006", "shadow-000000000000000d"]);
}
