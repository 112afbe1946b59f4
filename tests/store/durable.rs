//! Acknowledged is durable; what is not durable was not acknowledged; a disk that fails blocks and heals.
use crate::disk::{CrashDisk, Faults};
use crate::house::*;
use std::time::Duration;
use tailhook::domain::{KeepingError, Lsn, Next};
use tailhook::settings::StoreSettings;
use tailhook::store::{Batch, MemoryIndex, Record, StoreError};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_crash_between_append_and_sync_keeps_what_was_acknowledged() {
    let house = House::new().await;
    house.commit(captured(1, lane(1))).await;
    house.disk.faults(Faults { hang: true, ..Faults::default() });
    let unanswered =
        tokio::time::timeout(Duration::from_secs(60), house.try_commit(captured(2, lane(1)))).await;
    assert!(unanswered.is_err(), "answered before the sync returned");
    let disk = house.disk.clone();
    let written = disk.crash(usize::MAX).bytes("journal-0000000000000001").len()
        - disk.crash(0).bytes("journal-0000000000000001").len();
    assert!(written > 0);
    for kept in 0..=written {
        let house = House::open(settings(), disk.crash(kept), MemoryIndex::default()).await.unwrap();
        let all = kept == written;
        assert_eq!(
            house.store.checkpoint().position(),
            Some(Lsn(if all { 3 } else { 2 })),
            "{kept} bytes kept"
        );
        assert_eq!(house.store.history().delivery(&key(2, lane(1))).await.unwrap().is_some(), all);
        assert_eq!(event_of(&house.store, &key(1, lane(1))).await.unwrap().unwrap().body, event(1).body);
        let torn = if all { 0 } else { kept as u64 };
        assert_eq!(house.recovery.torn_bytes, torn);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_one_append_may_be_lost_in_any_order() {
    let house = House::new().await;
    house.commit(captured(1, lane(1))).await;
    let before = house.disk.crash(0).bytes("journal-0000000000000001").len();
    house.disk.faults(Faults { hang: true, ..Faults::default() });
    // three batches in one append, none of them acknowledged
    let batches = [2, 3, 4].map(|n| house.try_commit(captured(n, lane(1))));
    let [a, b, c] = batches;
    let all = async { tokio::join!(a, b, c) };
    assert!(tokio::time::timeout(Duration::from_secs(1), all).await.is_err());
    let disk = house.disk.crash(usize::MAX);
    let after = disk.bytes("journal-0000000000000001").len();
    assert!(after > before);
    for hole in before..after {
        let disk = disk.fork();
        disk.edit("journal-0000000000000001", |bytes| bytes[hole] ^= 0xFF);
        let house = House::open(settings(), disk, MemoryIndex::default()).await.unwrap();
        assert!(house.store.checkpoint().position() >= Some(Lsn(2)), "hole at {hole}");
        assert!(house.recovery.torn_bytes > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_refuses_commits_until_it_does() {
    let house = House::new().await;
    house.disk.faults(Faults { hang: true, ..Faults::default() });
    let began = tokio::time::Instant::now();
    let (first, ()) = tokio::join!(house.try_commit(captured(1, lane(1))), async {
        while house.store.vitals().writable {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(began.elapsed().as_secs(), 5);
        let second = house.try_commit(captured(2, lane(1))).await;
        assert!(matches!(second, Err(KeepingError::Refused(_))), "{second:?}");
        house.disk.faults(Faults::default());
    });
    assert_eq!(first, Ok(()), "what was asked of the disk before is done");
    assert_eq!(house.store.checkpoint().position(), Some(Lsn(2)));
    house.commit(captured(2, lane(1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_blocks_and_heals() {
    let cases = [
        ("no space", Faults { full: true, ..Faults::default() }),
        ("append fails at once", Faults { append: Some(0), ..Faults::default() }),
        ("append fails half-way", Faults { append: Some(50), ..Faults::default() }),
        ("append fails behind its end", Faults { append: Some(100_000), ..Faults::default() }),
        ("sync fails", Faults { sync: true, ..Faults::default() }),
        ("sync and truncate fail", Faults { sync: true, truncate: true, ..Faults::default() }),
        ("append and truncate fail", Faults { append: Some(9), truncate: true, ..Faults::default() }),
    ];
    for (name, faults) in cases {
        let house = House::new().await;
        house.commit(captured(1, lane(1))).await;
        house.disk.faults(faults);
        for _ in 0..3 {
            let refused = house.try_commit(captured(2, lane(1))).await;
            assert!(matches!(refused, Err(KeepingError::Refused(_))), "{name}: {refused:?}");
            assert!(!house.store.vitals().writable);
            // reads go on
            assert_eq!(house.store.outbox().due(lane(1), None, 10).await.unwrap().len(), 1);
            sleep(Duration::from_secs(2)).await;
        }
        assert!(!house.store.vitals().writable);
        house.disk.faults(Faults::default());
        tokio::time::timeout(Duration::from_secs(1), house.store.checkpoint().writable()).await.unwrap();
        assert!(house.store.vitals().writable);
        house.commit(captured(3, lane(1))).await;
        let (disk, index) = house.stop().await;
        for index in [index, MemoryIndex::default()] {
            let house = House::open(settings(), disk.crash(0), index).await.unwrap();
            assert_eq!(house.recovery.torn_bytes, 0, "{name}");
            assert_eq!(house.store.checkpoint().position(), Some(Lsn(4)), "{name}");
            assert_eq!(
                house.store.history().delivery(&key(2, lane(1))).await.unwrap(),
                None,
                "{name}: refused, yet there"
            );
            assert!(event_of(&house.store, &key(3, lane(1))).await.unwrap().is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_made_is_made_later() {
    let settings = StoreSettings { segment_bytes: 400, ..settings() };
    let house = House::open(settings.clone(), CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    house.commit(captured(1, lane(1))).await;
    house.disk.faults(Faults { create: true, ..Faults::default() });
    assert!(matches!(house.try_commit(captured(2, lane(1))).await, Err(KeepingError::Refused(_))));
    sleep(Duration::from_secs(2)).await;
    house.disk.faults(Faults::default());
    sleep(Duration::from_secs(2)).await;
    for n in 3..9 {
        house.commit(captured(n, lane(1))).await;
    }
    let (disk, _) = house.stop().await;
    assert!(disk.names("journal-").len() > 3);
    let house = House::open(settings, disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(house.store.outbox().due(lane(1), None, 100).await.unwrap().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn commits_become_visible_in_the_order_of_the_calls() {
    let house = House::new().await;
    let mut done = tokio::task::JoinSet::new();
    for n in 1..50 {
        let store = house.store.clone();
        done.spawn(async move { store.checkpoint().commit(Batch { records: captured(n, lane(1)) }).await });
    }
    done.join_all().await.into_iter().for_each(|result| result.unwrap());
    let due = house.store.outbox().due(lane(1), None, 100).await.unwrap();
    let keys: Vec<_> = due.iter().map(|p| p.key.clone()).collect();
    assert_eq!(keys, (1..50).map(|n| key(n, lane(1))).collect::<Vec<_>>());
    assert!(due.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let (fresh, overflowed) = house.store.outbox().fresh().await;
    assert_eq!((fresh, overflowed), (due, false));
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_has_written_everything_and_takes_no_more() {
    let house = House::new().await;
    house.commit(captured(1, lane(1))).await;
    let store = house.store.clone();
    let (disk, index) = house.close().await;
    assert_eq!(
        store.checkpoint().commit(Batch { records: captured(2, lane(1)) }).await,
        Err(KeepingError::Gone)
    );
    assert_eq!(store.run().await, Err(StoreError::Closed));
    assert_eq!(store.vitals().index_lag_frames, 0);
    let house = House::open(settings(), disk, index).await.unwrap();
    assert_eq!((house.recovery.replayed_frames, house.recovery.rebuilt.clone()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_crashed_store_answers_its_callers() {
    for begun in [true, false] {
        let house = House::new().await;
        let store = house.store.clone();
        if begun {
            house.commit(captured(1, lane(1))).await;
            house.stop().await;
        } else {
            store.close().await;
        }
        assert_eq!(
            store.checkpoint().commit(Batch { records: captured(2, lane(1)) }).await,
            Err(KeepingError::Gone)
        );
        store.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_beyond_a_frame_is_refused_for_good() {
    let settings = StoreSettings { batch_bytes: 1 << 20, ..settings() };
    let house = House::open(settings, CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    let huge = vec![row("1", Some(&"x".repeat(1 << 20)))];
    assert!(matches!(house.try_commit(huge).await, Err(KeepingError::Failed(_))));
    house.commit(captured(1, lane(1))).await;
    assert_eq!(house.try_commit(Vec::new()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_legal_is_ignored() {
    let house = House::new().await;
    let (a, k) = (lane(1), key(1, lane(1)));
    house.commit(vec![Record::Identity(identity(1)), Record::Position(Lsn(50))]).await;
    house.commit(captured(1, a)).await;
    assert_eq!(house.store.checkpoint().position(), Some(Lsn(50)), "a position never goes back");
    let before = answers(&house.store).await;
    house.commit(captured(1, a)).await;
    house.commit(vec![Record::Retried { key: k.clone(), at_ms: 5 }]).await;
    house.commit(vec![attempted(key(77, a), 1, Next::Delivered)]).await;
    let mut foreign = k.clone();
    foreign.tenant = tailhook::domain::TenantId::new("another");
    house.commit(vec![attempted(foreign.clone(), 1, Next::Delivered)]).await;
    assert_eq!(answers(&house.store).await, before);
    assert_eq!(event_of(&house.store, &foreign).await.unwrap(), None);
    house.commit(vec![attempted(k.clone(), 1, Next::Delivered)]).await;
    let before = answers(&house.store).await;
    house.commit(vec![attempted(k.clone(), 2, Next::Failed)]).await;
    house.commit(vec![Record::Abandoned { key: k.clone(), reason: "late".into(), at_ms: 9 }]).await;
    house.commit(vec![Record::Retried { key: k, at_ms: 5 }]).await;
    assert_eq!(answers(&house.store).await, before);
    // another history begins where it begins
    house.commit(vec![Record::Identity(identity(2)), Record::Position(Lsn(7))]).await;
    assert_eq!(house.store.checkpoint().position(), Some(Lsn(7)));
    house.commit(vec![Record::Position(Lsn(6))]).await;
    assert_eq!(house.store.checkpoint().position(), Some(Lsn(7)));
}
