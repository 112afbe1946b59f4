//! One flipped bit anywhere: detected when the folder is opened, or when it is read; never a wrong body.
use crate::disk::CrashDisk;
use crate::house::*;
use std::process::Command;
use std::time::Duration;
use tailhook::domain::{KeepingError, Next};
use tailhook::settings::StoreSettings;
use tailhook::store::{Index, MemoryIndex, Record, StoreError, verify};
use tailhook_demo::random::Random;
use tokio::time::sleep;

/// Where each frame of the one segment begins, and where the last one ends.
pub(crate) fn bounds(disk: &CrashDisk, name: &str) -> Vec<usize> {
    let bytes = disk.bytes(name);
    let mut bounds = vec![0];
    while let Some(head) = bytes[bounds[bounds.len() - 1]..].first_chunk::<4>() {
        bounds.push(bounds[bounds.len() - 1] + 8 + u32::from_le_bytes(*head) as usize);
    }
    bounds
}

pub(crate) const FIRST: &str = "journal-0000000000000001";

/// `history` has every kind of record, one frame an item.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_any_frame_is_detected() {
    let house = House::new().await;
    for records in history() {
        house.commit(records).await;
    }
    let (disk, index) = house.close().await;
    let bounds = bounds(&disk, FIRST);
    let last = bounds.len() - 2;
    let mut random = Random::new(20_261_125);
    assert_eq!(last, history().len(), "the first one is the segment's header");
    for at in 0..bounds[last + 1] {
        let frame = bounds.iter().filter(|bound| **bound <= at).count();
        let damaged = disk.fork();
        damaged.edit(FIRST, |bytes| bytes[at] ^= 1 << random.below(8));
        let report = verify(&damaged, Ok(&index as &dyn Index)).unwrap();
        let opened = House::open(settings(), damaged, index.fork()).await;
        if frame == last + 1 {
            // nothing proves that it was ever acknowledged: a torn tail
            assert!(report.is_fine() && report.findings.len() == 2, "byte {at}: {report:?}");
            assert!(opened.unwrap().recovery.torn_bytes > 0, "byte {at}");
            continue;
        }
        assert!(matches!(opened.err(), Some(StoreError::Damaged(_))), "byte {at}");
        let lost: Vec<_> = report.losses.iter().map(|l| (l.byte as usize, l.frames)).collect();
        assert_eq!(lost, [(bounds[frame - 1], (frame as u64, frame as u64))], "byte {at}");
        assert!(!report.is_fine());
    }
}

/// Bits that flip while the store is open: the body is wrong in no answer.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_never_reaches_the_wire() {
    let house = House::new().await;
    for records in history() {
        house.commit(records).await;
    }
    let (disk, index) = house.close().await;
    let mut random = Random::new(20_261_126);
    let house = House::open(settings(), disk.fork(), index).await.unwrap();
    let keys = [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 1)].map(|(n, to)| (n, key(n, lane(to))));
    let mut noticed = 0;
    for at in 0..disk.bytes(FIRST).len() {
        let bit = 1 << random.below(8);
        house.disk.edit(FIRST, |bytes| bytes[at] ^= bit);
        for (n, key) in &keys {
            match event_of(&house.store, key).await {
                Ok(read) => assert_eq!(read, Some(event(*n)), "a wrong body comes out: byte {at}"),
                Err(KeepingError::Unusable(_)) => noticed += 1,
                Err(other) => panic!("byte {at}: {other:?}"),
            }
        }
        house.disk.edit(FIRST, |bytes| bytes[at] ^= bit);
    }
    assert!(noticed > 6 * 80, "{noticed}");
}

/// Null control: without the check of the CRC a wrong body comes out, and is noticed.
#[test]
fn a_body_that_is_not_checked_is_caught() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["damage::a_flipped_bit_never_reaches_the_wire", "--exact", "--nocapture"])
        .env("TAILHOOK_PLANTED", "no-crc-at-read")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("a wrong body comes out"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_any_block_of_the_shadow_is_detected() {
    let settings = StoreSettings { segment_bytes: 100_000, history: Duration::ZERO, ..settings() };
    let house = House::open(settings.clone(), CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    house.commit(vec![Record::Filling(identity(1)), subscription(1), Record::Identity(identity(1))]).await;
    for n in 0..40 {
        house.commit(vec![row(&n.to_string(), Some(&n.to_string().repeat(15_000)))]).await;
    }
    house.commit(captured(1, lane(1))).await;
    house.commit(vec![attempted(key(1, lane(1)), 1, Next::Delivered)]).await;
    house.clock.0.fetch_add(1_000_000_000, std::sync::atomic::Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    let (disk, index) = house.close().await;
    let name = disk.names("shadow-").pop().unwrap();
    let blocks = bounds(&disk, &name);
    assert!(blocks.len() > 5, "{} blocks", blocks.len() - 1);
    assert!(verify(&disk, Ok(&index as &dyn Index)).unwrap().is_fine());
    let mut random = Random::new(20_261_127);
    for block in blocks.windows(2) {
        let (from, to) = (block[0], block[1]);
        for at in (from..from + 13).chain([to - 1, from + random.below(to - from)]) {
            let damaged = disk.fork();
            damaged.edit(&name, |bytes| bytes[at] ^= 1 << random.below(8));
            let report = verify(&damaged, Ok(&index as &dyn Index)).unwrap();
            assert!(report.findings.iter().any(|f| f.damage && f.file == name), "byte {at}: {report:?}");
            let error = House::open(settings.clone(), damaged, MemoryIndex::default()).await.err();
            assert!(matches!(error, Some(StoreError::Damaged(_))), "byte {at}: {error:?}");
        }
    }
}
