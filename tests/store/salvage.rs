//! A damaged journal is refused, named, and salvaged: what is lost is told exactly, everything else is there.
use crate::damage::{FIRST, bounds};
use crate::disk::CrashDisk;
use crate::house::*;
use crate::newer::{name, old};
use std::process::Command;
use tailhook::domain::{Lsn, Status};
use tailhook::settings::StoreSettings;
use tailhook::store::{Identity, Index, MemoryIndex, Record, Report, StoreError, salvage, verify};
use tokio::task::yield_now;

/// A store that lived through the history, closed.
async fn lived(settings: StoreSettings) -> (CrashDisk, MemoryIndex) {
    let house = House::open(settings, CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    for records in history() {
        house.commit(records).await;
    }
    house.close().await
}

/// What a store says that never got the lost frames (counted from 0), and was set back to `to`.
async fn without(lost: &[usize], to: Lsn) -> String {
    let house = House::new().await;
    for (n, records) in history().into_iter().enumerate() {
        let nothing = vec![Record::SubscriptionGone(lane(999))];
        house.commit(if lost.contains(&n) { nothing } else { records }).await;
    }
    let identity = house.store.checkpoint().identity().or(house.store.checkpoint().filling());
    let mark = identity.map(|identity| {
        let other = Identity { epoch: [9; 16], ..identity.clone() };
        let lost = Identity { epoch: Identity::LOST, ..identity };
        vec![Record::Identity(other), Record::Identity(lost), Record::Position(to)]
    });
    house.commit(mark.unwrap_or(vec![Record::SubscriptionGone(lane(999))])).await;
    ranked_answers(&house.store).await
}

fn looked(disk: &CrashDisk, index: &MemoryIndex) -> Report {
    verify(disk, Ok(index as &dyn Index)).unwrap()
}

async fn refused(disk: &CrashDisk, index: &MemoryIndex) {
    for index in [index.fork(), MemoryIndex::default()] {
        let error = House::open(settings(), disk.fork(), index).await.err();
        let Some(error @ StoreError::Damaged(_)) = error else { panic!("{error:?}") };
        let line = error.to_string();
        assert!(line.contains("tailhook store verify --salvage") && !line.contains('\n'), "{line}");
    }
}

/// Opens, and is as if the lost frames had never been.
async fn salvaged(disk: &CrashDisk, index: &MemoryIndex, lost: &[usize], to: Lsn) {
    assert!(looked(disk, index).is_fine(), "{:?}", looked(disk, index));
    let house = House::open(settings(), disk.fork(), index.fork()).await.unwrap();
    assert!(house.recovery.rebuilt.is_some());
    assert_eq!(ranked_answers(&house.store).await, without(lost, to).await, "frames {lost:?}");
    house.commit(captured(90, lane(1))).await;
    let (disk, index) = house.close().await;
    assert!(looked(&disk, &index).findings.is_empty(), "{:?}", looked(&disk, &index));
    House::open(settings(), disk, index).await.unwrap();
}

/// The position up to the frames before `frame`, and the next one after it.
fn around(frame: usize) -> (Option<Lsn>, Option<Lsn>) {
    let position = |records: &Vec<Record>| {
        records.iter().find_map(|r| if let Record::Position(lsn) = r { Some(*lsn) } else { None })
    };
    let history = history();
    (history[..frame].iter().rev().find_map(position), history[frame + 1..].iter().find_map(position))
}

#[tokio::test(start_paused = true)]
async fn any_lost_frame_is_told_and_all_others_stay() {
    let (disk, index) = lived(settings()).await;
    let bounds = bounds(&disk, FIRST);
    for frame in 0..history().len() - 1 {
        let disk = disk.fork();
        // the first frame is the segment's header
        let number = frame as u64 + 2;
        disk.edit(FIRST, |bytes| bytes[bounds[frame + 2] - 1] ^= 64);
        let before = disk.bytes(FIRST);
        refused(&disk, &index).await;
        let report = looked(&disk, &index);
        assert_eq!((report.is_fine(), report.losses.len()), (false, 1));
        let loss = &report.losses[0];
        assert_eq!(loss.frames, (number, number));
        assert_eq!((loss.after, loss.until), around(frame), "frame {frame}");
        // the index knows which delivery's event stood there, and what had become of it
        let stood = [3, 4, 5, 8, 16, 18].iter().position(|n| *n == frame);
        assert_eq!(loss.deliveries.len(), usize::from(stood.is_some()), "{loss:?}");
        if frame == 3 {
            assert_eq!(loss.deliveries, [(key(1, lane(1)), Status::Delivered)]);
        }
        let done = salvage(&disk, &report, "7").await.unwrap();
        let kept = format!("salvage-7-{FIRST}");
        assert_eq!(done.kept, [(FIRST.to_owned(), kept.clone())]);
        assert_eq!(disk.bytes(&kept), before, "what was there is kept");
        salvaged(&disk, &index, &[frame], loss.after.unwrap_or(Lsn(0))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn several_losses_a_missing_file_and_a_torn_tail_are_salvaged_together() {
    let small = StoreSettings { segment_bytes: 900, ..settings() };
    let (disk, index) = lived(small).await;
    let names = disk.names("journal-");
    assert!(names.len() > 4);
    let first = |name: &String| u64::from_str_radix(name.rsplit('-').next().unwrap(), 16).unwrap();
    let (gone, bad) = (first(&names[2])..first(&names[3]), first(&names[3]) + 1);
    disk.delete(&names[2]);
    let second = bounds(&disk, &names[3])[1];
    disk.edit(&names[3], |bytes| bytes[second + 9] ^= 1);
    disk.edit(names.last().unwrap(), |bytes| bytes.extend_from_slice(&[5; 30]));
    refused(&disk, &index).await;
    let report = looked(&disk, &index);
    let frames: Vec<_> = report.losses.iter().map(|loss| loss.frames).collect();
    assert_eq!(frames, [(gone.start, gone.end - 1), (bad, bad)]);
    // each segment up to there begins with a header, which is no commit
    let lost: Vec<usize> = (gone.start as usize - 3..=bad as usize - 5).collect();
    let to = report.losses[0].after.unwrap();
    let whole = disk.fork();
    salvage(&whole, &report, "7").await.unwrap();
    salvaged(&whole, &index, &lost, to).await;
    // a crash anywhere in it: refused still, or done; a second call ends it
    let mut ended = false;
    for steps in 0.. {
        if ended {
            assert!(steps > 10, "{steps}");
            break;
        }
        let disk = disk.fork();
        tokio::select! {
            biased;
            done = salvage(&disk, &report, "7") => ended = done.is_ok(),
            () = async { for _ in 0..steps { yield_now().await } } => {}
        }
        let disk = disk.crash(0);
        let again = looked(&disk, &index);
        if !again.is_fine() {
            refused(&disk, &index).await;
            salvage(&disk, &again, "8").await.unwrap();
        }
        salvaged(&disk, &index, &lost, to).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_be_a_guess_is_refused() {
    // without the journal's beginning and without a checkpoint nobody knows what was remembered
    let (disk, index) = lived(StoreSettings { segment_bytes: 900, ..settings() }).await;
    let names = disk.names("journal-");
    disk.delete(&names[0]);
    let before: Vec<_> = disk.names("").iter().map(|name| (name.clone(), disk.bytes(name))).collect();
    let report = looked(&disk, &index);
    assert!(!report.is_fine());
    let error = salvage(&disk, &report, "7").await.err();
    assert!(matches!(error, Some(StoreError::Damaged(_))), "{error:?}");
    assert_eq!(
        disk.names("").iter().map(|name| (name.clone(), disk.bytes(name))).collect::<Vec<_>>(),
        before
    );
}

/// Retention deletes a segment when a checkpoint has what lives long in it: what begins later has lost the one before it.
#[tokio::test(start_paused = true)]
async fn a_lost_beginning_is_refused_and_salvaged() {
    let disk = old();
    disk.delete(&name(5));
    assert!(looked(&disk, &MemoryIndex::default()).is_fine(), "all of it is before the checkpoint");
    // frames 6 to 20; the checkpoint holds 13
    disk.delete(&name(6));
    let before = disk.names("");
    for index in [kept().await, MemoryIndex::default()] {
        let error = House::open(settings(), disk.fork(), index.fork()).await.err();
        let Some(StoreError::Damaged(what)) = &error else {
            panic!("it opens without its beginning: {error:?}")
        };
        assert!(what.contains("frames 14 to 20 are missing") && what.contains(&name(21)), "{what}");
        let report = looked(&disk, &index);
        let found: Vec<_> = report.losses.iter().map(|loss| (loss.frames, &loss.file)).collect();
        assert!(!report.is_fine() && found == [((14, 20), &name(21))], "{report:?}");
    }
    assert_eq!(disk.names(""), before);
    let report = looked(&disk, &MemoryIndex::default());
    let done = salvage(&disk, &report, "7").await.unwrap();
    assert_eq!(done.position, report.losses[0].after);
    let again = looked(&disk, &MemoryIndex::default());
    assert!(again.is_fine() && again.losses.is_empty(), "{again:?}");
    let house = House::open(settings(), disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(house.store.checkpoint().identity().map(|identity| identity.epoch), Some(Identity::LOST));
    assert_eq!(house.store.checkpoint().position(), Some(done.position.unwrap_or(Lsn(0))));
    // what stood in good frames goes on
    house.store.outbox().lanes().await.unwrap();
    assert_eq!(house.store.vitals().pending, 15);
    house.commit(captured(90, lane(1))).await;
    let (disk, index) = house.close().await;
    assert!(looked(&disk, &index).findings.is_empty());
}

/// Null control: a store that does not ask where its journal begins.
#[test]
fn a_lost_beginning_that_nobody_asks_for_is_caught() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["salvage::a_lost_beginning_is_refused_and_salvaged", "--exact", "--nocapture"])
        .env("TAILHOOK_PLANTED", "lost-beginning-ignored")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("it opens without its beginning"), "{text}");
}

/// The fixture's index, up to its end.
async fn kept() -> MemoryIndex {
    House::open(settings(), old(), MemoryIndex::default()).await.unwrap().close().await.1
}
