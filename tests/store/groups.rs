//! A batch that is larger than a frame is a group of several: it becomes true as one, wherever the power goes in between.
use crate::damage::{FIRST, bounds};
use crate::disk::{CrashDisk, Faults};
use crate::house::*;
use crate::newer::kinds;
use std::process::Command;
use std::time::Duration;
use tailhook::domain::Lsn;
use tailhook::settings::StoreSettings;
use tailhook::store::{Index, MemoryIndex, Record, StoreError, salvage, verify};

const BATCH: u8 = 1;
const HEADER: u8 = 2;
const PART: u8 = 3;
const SEAL: u8 = 4;

/// An event with its delivery is more than one frame may be.
fn small() -> StoreSettings {
    StoreSettings { frame_bytes: 150, ..settings() }
}

/// Positions and events of three transactions.
fn three(from: u64) -> Vec<Record> {
    (from..from + 3).flat_map(|n| captured(n, lane(1))).collect()
}

async fn open(disk: CrashDisk, index: MemoryIndex) -> Result<House, StoreError> {
    House::open(small(), disk, index).await
}

fn kinds_of(disk: &CrashDisk) -> Vec<u8> {
    kinds(&disk.bytes(FIRST)).iter().map(|(kind, _)| *kind).collect()
}

#[tokio::test(start_paused = true)]
async fn several_frames_say_what_one_says() {
    let (one, several) =
        (House::new().await, open(CrashDisk::default(), MemoryIndex::default()).await.unwrap());
    for records in history().into_iter().chain([three(50)]) {
        one.commit(records.clone()).await;
        several.commit(records).await;
    }
    let expected = ranked_answers(&one.store).await;
    assert_eq!(ranked_answers(&several.store).await, expected);
    let (disk, index) = several.close().await;
    let kinds = kinds_of(&disk);
    assert!(kinds.ends_with(&[PART, PART, SEAL]), "{kinds:?}");
    assert!(kinds.contains(&BATCH) && kinds[0] == HEADER, "{kinds:?}");
    assert!(verify(&disk, Ok(&index as &dyn Index)).unwrap().findings.is_empty());
    for index in [index, MemoryIndex::default()] {
        let house = open(disk.fork(), index).await.unwrap();
        assert_eq!(ranked_answers(&house.store).await, expected);
    }
}

/// One group acknowledged, one written and not synced. What it may leave, and the index as it was.
async fn unsynced() -> (CrashDisk, MemoryIndex, usize, String) {
    let house = open(CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    house.commit(three(1)).await;
    house.settle().await;
    let (before, expected) = (house.disk.bytes(FIRST).len(), answers(&house.store).await);
    house.disk.faults(Faults { hang: true, ..Faults::default() });
    let unanswered = tokio::time::timeout(Duration::from_secs(60), house.try_commit(three(11))).await;
    assert!(unanswered.is_err(), "answered before the sync returned");
    assert_eq!(answers(&house.store).await, expected, "nothing of it is seen");
    (house.disk.fork(), house.index.fork(), before, expected)
}

#[tokio::test(start_paused = true)]
async fn a_group_is_there_with_its_last_byte_or_not_at_all() {
    let (disk, index, before, expected) = unsynced().await;
    assert_eq!(kinds_of(&disk), [HEADER, PART, PART, SEAL, PART, PART, SEAL]);
    let end = disk.bytes(FIRST).len();
    for len in before..=end {
        for index in [index.fork(), MemoryIndex::default()] {
            let disk = disk.fork();
            disk.edit(FIRST, |bytes| bytes.truncate(len));
            let report = verify(&disk, Ok(&index as &dyn Index)).unwrap();
            assert!(report.is_fine() && report.losses.is_empty(), "{len}: {report:?}");
            let house = open(disk, index).await.unwrap();
            if len == end {
                assert_eq!(house.store.checkpoint().position(), Some(Lsn(14)));
                assert_eq!(house.store.outbox().due(lane(1), None, 10).await.unwrap().len(), 6);
                continue;
            }
            assert_eq!(answers(&house.store).await, expected, "half a group is seen: cut at {len} of {end}");
            assert_eq!(house.recovery.torn_bytes, (len - before) as u64);
            // in its place another goes on
            house.commit(three(21)).await;
            let expected = answers(&house.store).await;
            let (disk, index) = house.stop().await;
            let house = open(disk.crash(0), index).await.unwrap();
            assert_eq!((answers(&house.store).await, house.recovery.torn_bytes), (expected, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_group_may_be_lost_in_any_order() {
    let (disk, index, before, expected) = unsynced().await;
    for hole in before..disk.bytes(FIRST).len() {
        let disk = disk.fork();
        disk.edit(FIRST, |bytes| bytes[hole] ^= 0xFF);
        let house = open(disk, index.fork()).await.unwrap();
        assert_eq!(answers(&house.store).await, expected, "half a group is seen: hole at {hole}");
    }
}

/// Null control: without waiting for the seal half a group is seen.
#[test]
fn a_group_that_is_not_awaited_is_caught() {
    for test in
        ["a_group_is_there_with_its_last_byte_or_not_at_all", "pages_of_a_group_may_be_lost_in_any_order"]
    {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([&format!("groups::{test}"), "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", "group-not-awaited")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("half a group is seen"), "{test}: {text}");
    }
}

/// What was acknowledged and is damaged is lost whole: no part of a transaction is made up from it.
#[tokio::test(start_paused = true)]
async fn a_damaged_group_is_lost_whole() {
    let house = open(CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    house.commit(vec![Record::Identity(identity(1))]).await;
    for from in [1, 11, 21] {
        house.commit(three(from)).await;
    }
    let (disk, index) = house.close().await;
    let bounds = bounds(&disk, FIRST);
    // header, one batch, three groups of three
    assert_eq!(bounds.len(), 12);
    for frame in 5..8 {
        let disk = disk.fork();
        disk.edit(FIRST, |bytes| bytes[bounds[frame] + 30] ^= 1);
        let error = open(disk.fork(), index.fork()).await.err();
        assert!(matches!(error, Some(StoreError::Damaged(_))), "{error:?}");
        let report = verify(&disk, Ok(&index as &dyn Index)).unwrap();
        let lost: Vec<_> = report.losses.iter().map(|loss| loss.frames).collect();
        assert_eq!(lost, [(6, 6), (7, 7), (8, 8)], "frame {frame}");
        let deliveries: usize = report.losses.iter().map(|loss| loss.deliveries.len()).sum();
        assert_eq!(deliveries, 3);
        assert_eq!((report.losses[0].after, report.losses[2].until), (Some(Lsn(4)), Some(Lsn(22))));
        salvage(&disk, &report, "7").await.unwrap();
        assert!(verify(&disk, Ok(&index as &dyn Index)).unwrap().is_fine());
        let house = open(disk, MemoryIndex::default()).await.unwrap();
        let due: Vec<_> = house
            .store
            .outbox()
            .due(lane(1), None, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|pending| pending.key)
            .collect();
        assert_eq!(due, [1, 2, 3, 21, 22, 23].map(|n| key(n, lane(1))));
        assert_eq!(house.store.checkpoint().position(), Some(Lsn(4)));
    }
    // the last one has nothing behind it that proves it
    disk.edit(FIRST, |bytes| bytes[bounds[9] + 30] ^= 1);
    let house = open(disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(house.recovery.torn_bytes, (bounds[11] - bounds[8]) as u64);
}
