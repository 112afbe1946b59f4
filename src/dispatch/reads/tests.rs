//! Reads under way: how many, of what, and what comes back.
use super::*;
use crate::clock::SystemClock;
use crate::disk::RealDisk;
use crate::dispatch::Ticket;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::domain::Seq;
use crate::settings::StoreSettings;
use crate::store::{MemoryIndex, Store};
use std::sync::Arc;
use tempfile::TempDir;

/// Of a store that is empty.
async fn reads() -> (TempDir, Reads) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(&folder.path().join("data")).unwrap());
    let index = MemoryIndex::default().factory();
    let opened = Store::open(StoreSettings::default(), disk, index, Arc::new(SystemClock)).await;
    (folder, Reads::new(opened.unwrap().0.outbox()))
}
fn page(number: u64) -> BegunRead {
    BegunRead { lane: lane_id(1), want: Want::Page { after: None, limit: 8 }, number }
}
fn given_up(n: u64) -> GivenUp {
    let ticket = Ticket { lane: lane_id(1), seq: Seq::new(n, 0) };
    GivenUp { ticket, key: pending(1, n, None).key, reason: "a test" }
}

#[tokio::test]
async fn four_reads_of_the_scheduler_are_under_way_at_once() {
    let (_folder, mut reads) = reads().await;
    assert!(reads.begin_lanes() && reads.begin_names(&[given_up(1)]));
    for number in 1..=4 {
        assert_eq!(reads.room(), 5 - number as usize, "what is not the scheduler's takes no room");
        reads.begin(page(number));
    }
    assert_eq!(reads.room(), 0);
    for _ in 0..6 {
        assert!(reads.finished().await.is_some());
    }
    assert_eq!(reads.room(), 4);
    assert!(reads.finished().await.is_none(), "nothing is under way");
}

#[tokio::test]
async fn lanes_and_names_are_read_once_at_a_time_and_beside_each_other() {
    let (_folder, mut reads) = reads().await;
    assert!(reads.begin_names(&[given_up(1), given_up(2)]));
    assert!(!reads.begin_names(&[given_up(3)]));
    assert!(reads.begin_lanes());
    assert!(!reads.begin_lanes());
    let mut names = 0;
    for _ in 0..2 {
        match reads.finished().await {
            Some(ReadAnswer::Names(found)) => {
                assert_eq!(found, [None, None], "the store does not know them");
                names += 1;
            }
            Some(ReadAnswer::Lanes(lanes)) => assert_eq!(lanes, []),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names, 1);
    assert!(reads.begin_lanes());
    assert!(reads.begin_names(&[given_up(3)]), "the others are read");
}

#[tokio::test]
async fn an_answer_is_told_once_also_without_waiting() {
    let (_folder, mut reads) = reads().await;
    assert!(reads.finished_now().is_none());
    reads.begin(page(7));
    let ended = async {
        loop {
            match reads.finished_now() {
                Some(answer) => break answer,
                None => task::yield_now().await,
            }
        }
    };
    // the limit only keeps a broken test from hanging
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.unwrap();
    assert!(matches!(&answer, ReadAnswer::Wanted(read, found) if *read == page(7) && found.is_empty()));
    assert!(reads.finished_now().is_none());
    assert_eq!(reads.room(), 4);
}
