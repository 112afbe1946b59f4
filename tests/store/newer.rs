//! What only a newer version reads is refused as that: never cut off as torn, never salvaged as damaged, nothing is changed.
use crate::disk::CrashDisk;
use crate::format::fixture;
use crate::house::*;
use std::fs;
use std::process::Command;
use tailhook::settings::StoreSettings;
use tailhook::store::{Index, MemoryIndex, Report, StoreError, salvage, verify};

const BATCH: u8 = 1;
const HEADER: u8 = 2;
const UNKNOWN: u8 = 99;

/// A whole frame, as this version or a later one writes it.
pub(crate) fn frame(kind: u8, number: u64, lead: u32, body: &[u8]) -> Vec<u8> {
    let covered = [&[kind][..], &number.to_le_bytes(), &lead.to_le_bytes(), body].concat();
    [&(covered.len() as u32).to_le_bytes()[..], &crc32c::crc32c(&covered).to_le_bytes(), &covered].concat()
}

/// Kind and number of each frame of a segment.
pub(crate) fn kinds(bytes: &[u8]) -> Vec<(u8, u64)> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let Some(len) = rest.first_chunk::<4>() {
        found.push((rest[8], u64::from_le_bytes(rest[9..17].try_into().unwrap())));
        rest = &rest[8 + u32::from_le_bytes(*len) as usize..];
    }
    found
}

/// Writes the CRC of the frame or block that begins here anew.
fn seal(bytes: &mut [u8]) {
    let len = u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let crc = crc32c::crc32c(&bytes[8..8 + len]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The fixture's files, which have a checkpoint.
pub(crate) fn old() -> CrashDisk {
    let disk = CrashDisk::default();
    for entry in fs::read_dir(fixture().join("data")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            disk.put(&entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        }
    }
    disk
}

/// A store of several segments that lived through the history.
async fn lived() -> (CrashDisk, MemoryIndex) {
    let settings = StoreSettings { segment_bytes: 1500, ..settings() };
    let house = House::open(settings, CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    for records in history() {
        house.commit(records).await;
    }
    house.close().await
}

/// The folder and what the refusal must name.
type Case = (&'static str, CrashDisk, &'static str);

pub(crate) fn name(first: u64) -> String {
    format!("journal-{first:016x}")
}

/// What a later version may have left at the end of `sound`, whose last segment is `last` and whose next frame is `next`.
fn at_the_end(sound: &CrashDisk, last: &str, next: u64) -> Vec<Case> {
    let header =
        |format: u32, rest: &[u8]| frame(HEADER, next, 0, &[&format.to_le_bytes()[..], rest].concat());
    let batch = |body: &[u8]| frame(BATCH, next, 0, body);
    let segment = |bytes: Vec<u8>| {
        let disk = sound.fork();
        disk.put(&name(next), bytes);
        disk
    };
    let tail = |bytes: Vec<u8>| {
        let disk = sound.fork();
        disk.edit(last, |file| file.extend_from_slice(&bytes));
        disk
    };
    let feature = [&1_u32.to_le_bytes()[..], &5_u32.to_le_bytes(), b"wings"].concat();
    let torn = [&[0xA5; 40][..], &frame(UNKNOWN, next + 1, 1, b"later")].concat();
    vec![
        ("a format", segment(header(2, b"whatever it is")), "(format 2 "),
        ("a feature", segment(header(1, &feature)), "(feature wings "),
        ("a field of the header", segment(header(1, &[0, 0, 0, 0, 7])), "(a header of another form "),
        ("a kind of frame", tail(frame(UNKNOWN, next, 0, b"later")), "(frame kind 99 "),
        ("a kind of frame at the front", segment(frame(UNKNOWN, next, 0, b"later")), "(frame kind 99 "),
        ("a kind of frame behind torn bytes", tail(torn), "(frame kind 99 "),
        ("a kind of record", tail(batch(&[1, 0, 0, 0, 200])), "(record kind 200, "),
        ("bytes behind the records", tail(batch(&[0, 0, 0, 0, 1])), "(bytes after the last record, "),
    ]
}

async fn cases() -> Vec<(Case, MemoryIndex)> {
    let (sound, index) = lived().await;
    let names = sound.names("journal-");
    let last = names.last().unwrap();
    let next = kinds(&sound.bytes(last)).last().unwrap().1 + 1;
    let mut cases = at_the_end(&sound, last, next);
    // an option that this version does not have, in the middle of the journal
    let option = sound.fork();
    let hit = names.iter().position(|name| {
        let bytes = option.bytes(name);
        let Some(at) = bytes.windows(10).position(|w| w == b"{\"rate\":5}") else { return false };
        // the frame around it: the nearest bytes before it that have their CRC; nothing at all has one, too
        let begins = (0..at).rev().find(|begins| {
            let len = bytes[*begins..].first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
            let crc =
                bytes.get(begins + 8..begins + 8 + len).map(|covered| crc32c::crc32c(covered).to_le_bytes());
            len > 13 && crc.is_some_and(|crc| crc == bytes[begins + 4..begins + 8])
        });
        option.edit(name, |bytes| {
            bytes[at + 2..at + 6].copy_from_slice(b"wing");
            seal(&mut bytes[begins.unwrap()..]);
        });
        true
    });
    assert_eq!(hit, Some(0));
    cases.push(("an option", option, "(field options in a record of kind 11, "));
    let mut cases: Vec<_> = cases.into_iter().map(|case| (case, index.fork())).collect();
    // the fixture has no index here: what stands in its checkpoint is read
    let old = old();
    let shadow = old.names("shadow-").pop().unwrap();
    let edited = |edit: &dyn Fn(&mut [u8])| {
        let disk = old.fork();
        disk.edit(&shadow, |bytes| edit(bytes));
        disk
    };
    let format = edited(&|bytes| {
        // length, CRC, number, kind, magic
        bytes[21] = 2;
        seal(bytes);
    });
    let header = edited(&|bytes| {
        let at = bytes.windows(9).position(|w| w == b"\"headers\"").unwrap();
        bytes[at + 1..at + 8].copy_from_slice(b"feather");
        let first = 8 + u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        seal(&mut bytes[first..]);
    });
    for case in [
        ("a checkpoint's format", format, "(checkpoint format 2 "),
        ("an option in a checkpoint", header, "(field options in file shadow-"),
    ] {
        cases.push((case, MemoryIndex::default()));
    }
    cases
}

fn files(disk: &CrashDisk) -> Vec<(String, Vec<u8>)> {
    disk.names("").iter().map(|name| (name.clone(), disk.bytes(name))).collect()
}

fn refused<T>(case: &str, what: &str, result: Result<T, StoreError>) {
    let Err(error @ StoreError::Newer(_)) = &result else {
        panic!("{case}: not refused as newer: {:?}", result.err());
    };
    let line = error.to_string();
    let begins = "the data folder was written by a newer version ";
    assert!(line.starts_with(&format!("{begins}{what}")), "{case}: {line}");
    assert!(line.ends_with("; this one reads up to format 1"), "{case}: {line}");
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_wrote_is_refused_and_left_alone() {
    for ((case, disk, what), index) in cases().await {
        disk.put("shadow-00000000000000ff.tmp", b"unfinished".to_vec());
        let before = files(&disk);
        for index in [index, MemoryIndex::default()] {
            refused(case, what, verify(&disk, Ok(&index as &dyn Index)));
            refused(case, what, salvage(&disk, &Report::default(), "7").await);
            assert_eq!(files(&disk), before, "{case}: verify and salvage");
            refused(case, what, House::open(settings(), disk.fork(), index.fork()).await);
            let opened = disk.fork();
            refused(case, what, House::open(settings(), opened.clone(), index.fork()).await);
            // a checkpoint that was not finished is worth nothing
            opened.put("shadow-00000000000000ff.tmp", b"unfinished".to_vec());
            assert_eq!(files(&opened), before, "{case}: open");
        }
    }
}

/// Null controls: a version that takes an unknown frame for a bad one or an unknown record for damage, and one that does not look
/// at the format.
#[test]
fn what_is_not_looked_at_is_caught() {
    for fault in ["unknown-frame-is-bad", "unknown-record-is-damage", "format-ignored"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["newer::what_a_newer_version_wrote_is_refused_and_left_alone", "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("not refused as newer"), "{fault}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_folder_is_gone_on_with_in_a_segment_that_has_a_header() {
    let disk = old();
    let before = files(&disk);
    let house = House::open(settings(), disk, MemoryIndex::default()).await.unwrap();
    house.commit(captured(900, lane(1))).await;
    house.commit(captured(901, lane(1))).await;
    let expected = answers(&house.store).await;
    let (disk, _) = house.close().await;
    for (name, bytes) in before {
        assert_eq!(disk.bytes(&name), bytes, "{name} is left alone");
    }
    assert_eq!(kinds(&disk.bytes(&name(27))), [(HEADER, 27), (BATCH, 28), (BATCH, 29)]);
    let house = House::open(settings(), disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(answers(&house.store).await, expected);
    house.commit(captured(902, lane(1))).await;
    let (disk, index) = house.close().await;
    assert_eq!(kinds(&disk.bytes(&name(27))).len(), 4, "its own format is written on");
    assert!(verify(&disk, Ok(&index as &dyn Index)).unwrap().findings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_segment_begins_with_its_header() {
    let (disk, _) = lived().await;
    let names = disk.names("journal-");
    assert!(names.len() > 2);
    for name in names {
        let first = u64::from_str_radix(name.rsplit('-').next().unwrap(), 16).unwrap();
        let kinds = kinds(&disk.bytes(&name));
        assert_eq!(kinds[0], (HEADER, first));
        assert!(kinds[1..].iter().all(|(kind, _)| *kind == BATCH) && kinds.len() > 1, "{name}: {kinds:?}");
    }
}
