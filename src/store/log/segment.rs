//! The journal's files: their names, reading them frame by frame, judging a bad place. Knows nothing of what frames say.
use crate::disk::Disk;
use crate::fault;
use crate::store::error::{StoreError, unreadable};
use crate::store::log::frame::{self, Behind, Flaw, HEADER, Kind};
use crate::store::records::codec::Unknown;
use crate::store::records::format::{self, MAX_HEADER};
use std::io;

const PREFIX: &str = "journal-";
/// Read at once; a larger frame is read whole.
const WINDOW: usize = 1 << 20;

/// A segment is named by its first frame's number, so that files sort and a hole in the journal shows.
pub(in crate::store) fn name(first: u64) -> String {
    format!("{PREFIX}{first:016x}")
}

/// The first frame of a segment's name; `None` for other files.
pub(in crate::store) fn parse_name(name: &str) -> Option<u64> {
    hex(name.strip_prefix(PREFIX)?)
}

/// Exactly 16 lower-case hex digits.
pub(in crate::store) fn hex(digits: &str) -> Option<u64> {
    let fits = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// A checked frame, out of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Found {
    pub(in crate::store) kind: Kind,
    pub(in crate::store) number: u64,
    /// Frames of the same append before it.
    pub(in crate::store) lead: u32,
    pub(in crate::store) crc: u32,
    /// Where the body begins in the file.
    pub(in crate::store) body_at: u64,
    pub(in crate::store) body: Vec<u8>,
}

/// What stands at the reader's place.
#[derive(Debug)]
pub(in crate::store) enum SegmentStep {
    Frame(Found),
    /// The file ends here, cleanly.
    End,
    /// No valid frame with the expected number begins here.
    Flaw,
    /// A whole frame of a kind that this version does not know.
    Unknown(u8),
}

/// Reads one segment from its start.
#[derive(Debug, Clone)]
pub(in crate::store) struct SegmentReader<'a> {
    disk: &'a dyn Disk,
    name: String,
    len: u64,
    /// The next frame.
    pub(in crate::store) at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> SegmentReader<'a> {
    pub(in crate::store) fn open(disk: &'a dyn Disk, first: u64) -> io::Result<Self> {
        let name = name(first);
        let len = disk.len(&name)?;
        Ok(Self { disk, name, len, at: 0, window: Vec::new(), window_at: 0 })
    }

    /// Takes the frame `expected`, if that is what comes next.
    pub(in crate::store) async fn next(&mut self, expected: u64) -> io::Result<SegmentStep> {
        if self.at == self.len {
            return Ok(SegmentStep::End);
        }
        let mut need = HEADER;
        loop {
            if self.len - self.at < need as u64 {
                return Ok(SegmentStep::Flaw);
            }
            self.load(need).await?;
            let bytes = &self.window[(self.at - self.window_at) as usize..];
            match frame::parse(bytes) {
                Ok(found) if found.number == expected => {
                    let body_at = self.at + HEADER as u64;
                    let (kind, lead, crc) = (found.kind, found.lead, found.crc);
                    let body = found.body.to_vec();
                    self.at = body_at + body.len() as u64;
                    return Ok(SegmentStep::Frame(Found {
                        kind,
                        number: expected,
                        lead,
                        crc,
                        body_at,
                        body,
                    }));
                }
                Err(Flaw::Unknown(kind)) => return Ok(SegmentStep::Unknown(kind)),
                Err(Flaw::Short(more)) if more > need => need = more,
                Ok(_) | Err(_) => return Ok(SegmentStep::Flaw),
            }
        }
    }

    /// Makes the window hold at least `need` bytes from `at`; the file has them. No thread of the runtime waits for it.
    async fn load(&mut self, need: usize) -> io::Result<()> {
        let end = self.window_at + self.window.len() as u64;
        if self.at >= self.window_at && end >= self.at + need as u64 {
            return Ok(());
        }
        let len = (self.len - self.at).min(need.max(WINDOW) as u64) as usize;
        self.window = self.disk.fetch(&self.name, self.at, len).await?;
        self.window_at = self.at;
        Ok(())
    }

    /// Reads no further than to here: what follows is not durable, or not there yet.
    pub(in crate::store) fn end_at(&mut self, len: u64) {
        self.len = len;
    }

    /// At a flaw in the last segment: is it a torn append (how many bytes to cut), or is acknowledged data lost?
    pub(in crate::store) fn judge(&self, expected: u64) -> Result<u64, StoreError> {
        let torn = self.len - self.at;
        let rest = self.disk.read(&self.name, self.at, torn as usize).map_err(|e| unreadable(&e))?;
        match frame::proof_of_loss(&rest, expected) {
            Behind::Nothing => Ok(torn),
            Behind::Frame(good) => {
                Err(self.damaged(&format!("a good frame follows at byte {}", self.at + good as u64)))
            }
            Behind::Unknown { at, kind } => Err(unknown_frame(kind, &self.name, self.at + at as u64)),
        }
    }

    /// Of the frame that is next.
    pub(in crate::store) fn unknown(&self, kind: u8) -> StoreError {
        unknown_frame(kind, &self.name, self.at)
    }

    pub(in crate::store) fn damaged(&self, why: &str) -> StoreError {
        StoreError::Damaged(format!("file {}, byte {}: {why}", self.name, self.at))
    }
}

pub(in crate::store) fn unknown_frame(kind: u8, name: &str, at: u64) -> StoreError {
    StoreError::Newer(format!("frame kind {kind} in file {name}, byte {at}"))
}

/// A frame whose CRC is right, in which this version does not read everything.
pub(in crate::store) fn unknown_record(what: Unknown, number: u64, place: &str) -> StoreError {
    let place = format!("frame {number} of {place}");
    if fault::planted("unknown-record-is-damage") {
        return StoreError::Damaged(place);
    }
    StoreError::Newer(format!("{what}, {place}"))
}

/// The body of a segment's header; `None`: it has none, is empty or cannot be read so far. An error: only a newer version reads it.
pub(in crate::store) fn header(disk: &dyn Disk, first: u64, len: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let name = name(first);
    let len = len.min((MAX_HEADER + HEADER) as u64);
    let bytes = disk.read(&name, 0, len as usize).map_err(|e| unreadable(&e))?;
    match frame::parse(&bytes) {
        Ok(found) if found.kind == Kind::Header => {
            readable(found.body, &name)?;
            Ok(Some(found.body.to_vec()))
        }
        Err(Flaw::Unknown(kind)) => Err(unknown_frame(kind, &name, 0)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Does this version read what follows such a header?
pub(in crate::store) fn readable(header: &[u8], name: &str) -> Result<(), StoreError> {
    if fault::planted("format-ignored") {
        return Ok(());
    }
    format::check(header).map_err(|what| StoreError::Newer(format!("{what} in file {name}")))
}
