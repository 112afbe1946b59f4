//! What is made durable, how much at once, and when.
use super::*;
use crate::clock::SystemClock;
use crate::disk::RealDisk;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::domain::Seq;
use crate::settings::StoreSettings;
use crate::store::{MemoryIndex, Store};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::advance;

/// On a store that nobody runs: what is sent off stays on its way.
async fn ledger() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(&folder.path().join("data")).unwrap());
    let index = MemoryIndex::default().factory();
    let opened = Store::open(StoreSettings::default(), disk, index, Arc::new(SystemClock)).await;
    (folder, Ledger::new(opened.unwrap().0.outbox()))
}

fn ticket(n: u64) -> Ticket {
    Ticket { lane: lane_id(1), seq: Seq::new(n, 0) }
}
/// One delivery that was given up.
fn settlement(n: u64) -> Settlement {
    let key = pending(1, n, None).key;
    (vec![Settled::Abandoned { key, reason: "a test".into(), at_ms: 0 }], vec![ticket(n)])
}
fn add(ledger: &mut Ledger, places: impl IntoIterator<Item = u64>) {
    for n in places {
        let (settled, tickets) = settlement(n);
        ledger.add(settled, tickets);
    }
}
/// Commits on their way, and what is gathered.
fn lengths(ledger: &Ledger) -> (usize, usize) {
    (ledger.commits.len(), ledger.gathered.len())
}
/// A commit of one has ended.
fn end(ledger: &mut Ledger, n: u64, result: Result<(), KeepingError>) {
    ledger.commits.spawn(async move { Commit { entries: vec![settlement(n)], result } });
}

/// A store that is writable answers at once that it is: whoever waited for that after a failure would try again without a pause.
#[tokio::test]
async fn a_failure_is_tried_again_after_a_pause_and_a_refusal_when_the_store_is_writable() {
    let (_folder, mut ledger) = ledger().await;
    for (error, waits) in
        [(KeepingError::Refused("full".into()), true), (KeepingError::Failed("EIO".into()), false)]
    {
        assert_eq!(ledger.close(Commit { entries: Vec::new(), result: Err(error) }), Ok(Vec::new()));
        assert_eq!((ledger.is_blocked(), ledger.is_refused()), (true, waits));
        ledger.unblock();
        assert_eq!((ledger.is_blocked(), ledger.is_refused()), (false, false));
    }
    let fenced = Commit { entries: Vec::new(), result: Err(KeepingError::Fenced("over".into())) };
    assert!(ledger.close(fenced).is_err(), "never again");
}

#[tokio::test]
async fn nothing_is_left_when_nothing_is_gathered_or_on_its_way() {
    let (_folder, mut ledger) = ledger().await;
    assert!(ledger.is_empty() && !ledger.has_commits());
    add(&mut ledger, [1]);
    assert!(!ledger.is_empty() && !ledger.has_commits());
    ledger.flush();
    assert_eq!(lengths(&ledger), (1, 0));
    assert!(!ledger.is_empty() && ledger.has_commits());
    ledger.commits.abort_all();
    assert!(matches!(ledger.finished().await, Err(KeepingError::Refused(_))), "it broke off");
    assert!(ledger.is_empty() && !ledger.has_commits());
    assert_eq!(ledger.finished().await, Ok(Vec::new()), "and nobody waits for nothing");
}

/// The first goes at once; what comes within five milliseconds of it goes together.
#[tokio::test(start_paused = true)]
async fn outcomes_are_gathered_for_a_while() {
    let (_folder, mut ledger) = ledger().await;
    assert_eq!(ledger.due(), None, "there is nothing");
    add(&mut ledger, [1]);
    let first = Instant::now();
    assert_eq!(ledger.due(), Some(first));
    ledger.flush_due();
    assert_eq!((lengths(&ledger), ledger.due()), ((1, 0), None));
    add(&mut ledger, [2]);
    assert_eq!(ledger.due(), Some(first + GATHER));
    ledger.flush_due();
    assert_eq!(lengths(&ledger), (1, 1), "not yet");
    advance(GATHER).await;
    add(&mut ledger, [3]);
    ledger.flush_due();
    assert_eq!((lengths(&ledger), ledger.due()), ((2, 0), None), "both in one");
}

#[tokio::test(start_paused = true)]
async fn many_do_not_wait_until_they_are_due() {
    let (_folder, mut ledger) = ledger().await;
    add(&mut ledger, [1]);
    ledger.flush_due();
    add(&mut ledger, 0..BATCH as u64 - 1);
    ledger.flush_due();
    assert_eq!(lengths(&ledger), (1, BATCH - 1));
    add(&mut ledger, [9_999]);
    ledger.flush_due();
    assert_eq!(lengths(&ledger), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_few_commits_are_on_their_way_at_once_and_the_rest_is_gathered() {
    let (_folder, mut ledger) = ledger().await;
    add(&mut ledger, 0..(PIPELINE * BATCH) as u64 + 7);
    ledger.flush();
    assert_eq!((lengths(&ledger), ledger.due()), ((PIPELINE, 7), None), "there is no room");
    ledger.flush();
    assert_eq!(lengths(&ledger), (PIPELINE, 7));
    ledger.commits.abort_all();
    while ledger.has_commits() {
        assert!(ledger.finished().await.is_err(), "they broke off");
    }
    assert!(ledger.due().is_some());
    ledger.flush();
    assert_eq!(lengths(&ledger), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_take_waits_in_its_order() {
    let (_folder, mut ledger) = ledger().await;
    end(&mut ledger, 1, Err(KeepingError::Refused("full".into())));
    add(&mut ledger, [2]);
    assert_eq!(ledger.finished().await, Ok(Vec::new()));
    let places = |ledger: &Ledger| ledger.gathered.iter().map(|(_, of)| of[0]).collect::<Vec<_>>();
    assert_eq!(places(&ledger), [ticket(1), ticket(2)]);
    ledger.flush();
    ledger.flush_due();
    assert_eq!((lengths(&ledger), ledger.due()), ((0, 2), None), "it is not tried");
    ledger.unblock();
    assert!(ledger.due().is_some());
    ledger.flush();
    assert_eq!(lengths(&ledger), (1, 0));
}

#[tokio::test]
async fn what_is_durable_is_told_once_also_without_waiting() {
    let (_folder, mut ledger) = ledger().await;
    end(&mut ledger, 1, Ok(()));
    assert_eq!(ledger.finished_now(), Ok(Vec::new()), "not yet");
    yield_now().await;
    assert_eq!(ledger.finished_now(), Ok(vec![ticket(1)]));
    assert_eq!(ledger.finished_now(), Ok(Vec::new()));
    end(&mut ledger, 2, Ok(()));
    assert_eq!(ledger.finished().await, Ok(vec![ticket(2)]));
    end(&mut ledger, 3, Err(KeepingError::Fenced("over".into())));
    yield_now().await;
    assert!(ledger.finished_now().is_err());
}
