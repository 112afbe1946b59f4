//! Damaged files, against what reads them: calls and what must hold of their answers, for `fuzz/` and `tests/corpora`.
//! Knows no fuzzer. Panics on purpose, where a promise is broken.
use crate::disk::Disk;
use crate::store::engine::checkpoint::{self, Blocks, Wrong};
use crate::store::index::Pair;
use crate::store::log::frame::{self, Kind};
use crate::store::log::segment::{self, SegmentReader, SegmentStep};
use crate::store::records::codec;
use crate::store::records::entry::Entry;
use crate::store::records::record::Record;
use async_trait::async_trait;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The first frame of the file.
const FIRST: u64 = 1;

/// A segment of the journal. The first byte says what the rest is: a file, or bodies (each after its length in two bytes) to
/// put into good frames; 2: of which then one byte is damaged.
pub fn journal(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    if mode % 3 == 0 {
        return segment(rest.to_vec(), None);
    }
    let (damage, rest) = damage(rest);
    let bodies: Vec<&[u8]> = parts(rest).collect();
    let (mut file, mut ends) = (Vec::new(), Vec::new());
    for (number, body) in (FIRST..).zip(&bodies) {
        frame::encode(&mut file, Kind::Batch, number, 0, body);
        ends.push(file.len());
    }
    let hit = damage.filter(|_| mode % 3 == 2 && !file.is_empty()).map(|(at, flip)| {
        let at = at % file.len();
        file[at] ^= flip;
        ends.iter().filter(|end| **end <= at).count()
    });
    segment(file, Some(&bodies[..hit.unwrap_or(bodies.len())]));
}

/// Reads a segment to its flaw. `good`: exactly these bodies must come out of it.
fn segment(file: Vec<u8>, good: Option<&[&[u8]]>) {
    let file = File(file);
    let mut reader = SegmentReader::open(&file, FIRST).expect("it is there");
    let mut bodies = Vec::new();
    loop {
        let number = FIRST + bodies.len() as u64;
        let from = reader.at as usize;
        match at_once(reader.next(number)).expect("nothing beyond the end is read") {
            SegmentStep::Frame(found) => {
                let to = reader.at as usize;
                assert_eq!(
                    file.0[to - found.body.len()..to],
                    found.body,
                    "a body is what stands in the file"
                );
                assert_eq!(crc32c::crc32c(&file.0[from + 8..to]), found.crc, "no body with a wrong CRC");
                body(&found.body);
                bodies.push(found.body);
            }
            SegmentStep::End | SegmentStep::Unknown(_) => break,
            SegmentStep::Flaw => {
                if let Ok(torn) = reader.judge(number) {
                    assert_eq!(from as u64 + torn, file.0.len() as u64, "what is cut is the rest");
                }
                break;
            }
        }
    }
    if let Some(good) = good {
        assert_eq!(bodies, good, "all frames before the damage, and no other");
    }
}

/// The file is in memory: nothing is waited for.
fn at_once<T>(done: impl Future<Output = T>) -> T {
    match pin!(done).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("a file in memory is there"),
    }
}

/// A frame's body, which is read only when its CRC is right; still nothing in it is believed.
fn body(bytes: &[u8]) {
    let _ = Entry::decode(bytes).map(|entry| {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry), "what was read is what is written");
    });
    let Ok((batch, places)) = codec::decode(bytes) else { return };
    assert_eq!(codec::decode(&codec::encode(&batch).0).map(|(again, _)| again).as_ref(), Ok(&batch));
    for (record, place) in batch.records.iter().zip(places) {
        let bytes = &bytes[place.offset as usize..][..place.len as usize];
        if let Record::Event(event) = record {
            assert_eq!(codec::decode_event(bytes).as_ref(), Ok(event));
            assert_eq!(crc32c::crc32c(bytes), place.crc);
        }
    }
}

/// A checkpoint. The first byte says what the rest is: a file, payloads (each after its length in two bytes) to put into
/// blocks with the right CRC, or pairs of keys and values to write as they should be; 3: with one byte damaged.
pub fn shadow(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 4 {
        0 => drop(visited(rest.to_vec())),
        1 => {
            let block = |payload: &[u8]| {
                let (len, crc) = (payload.len() as u32, crc32c::crc32c(payload));
                [&len.to_le_bytes()[..], &crc.to_le_bytes(), payload].concat()
            };
            drop(visited(parts(rest).flat_map(block).collect()));
        }
        mode => {
            let (damage, rest) = damage(rest);
            let pairs: Vec<(&[u8], &[u8])> = parts(rest).map(|pair| pair.split_at(pair.len() / 2)).collect();
            let mut blocks = Blocks::new(FIRST);
            for (key, value) in &pairs {
                blocks.pair(key, value);
            }
            blocks.end();
            let mut file = blocks.take();
            let Some((at, flip)) = damage.filter(|_| mode == 3) else {
                let read = visited(file).expect("what was written is read");
                return assert!(read.iter().map(|(key, value)| (&key[..], &value[..])).eq(pairs));
            };
            let at = at % file.len();
            file[at] ^= flip;
            assert!(visited(file).is_err(), "byte {at} is damaged");
        }
    }
}

fn visited(file: Vec<u8>) -> Result<Vec<Pair>, Wrong> {
    let mut pairs = Vec::new();
    checkpoint::visit(&File(file), FIRST, &mut |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        Ok(())
    })
    .map(|_| pairs)
}

/// Where one byte is damaged, and how: never not at all.
fn damage(data: &[u8]) -> (Option<(usize, u8)>, &[u8]) {
    match data.split_first_chunk::<3>() {
        Some(([high, low, flip], rest)) => {
            (Some((usize::from(u16::from_be_bytes([*high, *low])), (*flip).max(1))), rest)
        }
        None => (None, data),
    }
}

/// Pieces, each after its length in two bytes.
fn parts(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*length))));
        data = rest;
        Some(part)
    })
}

/// A folder with these bytes in every file, and nothing to be changed.
#[derive(Debug)]
struct File(Vec<u8>);

#[async_trait]
impl Disk for File {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(vec![segment::name(FIRST), checkpoint::name(FIRST)])
    }
    fn len(&self, _: &str) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read(&self, _: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let read = rest.and_then(|rest| rest.get(..len)).map(<[u8]>::to_vec);
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
    async fn create(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    async fn append(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    async fn sync(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    async fn truncate(&self, _: &str, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    async fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    async fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}
