//! A frame: the journal's unit, whole or not at all; one or several are a group (`group`). Knows its envelope, not what is inside
//! and not the files.
//!
//! `len u32 | crc32c u32 | kind u8 | number u64 | lead u32 | body`, little-endian. `len` counts what follows the CRC,
//! which covers exactly that. `lead` says how many frames of the same append stand before this one: everything before
//! those was fdatasynced when this frame was written. That tells a torn tail (the kernel may write the pages of one append in
//! any order) from damage.
//!
//! The envelope is the same in every format of the journal. A kind that is not known, in a frame whose CRC is right, was written
//! by a newer version: it is neither torn nor damaged (`Flaw::Unknown`).
use crate::fault;

/// Bytes before the body.
pub(in crate::store) const HEADER: usize = 8 + FIXED;
/// Largest value of `len`; a larger one is never believed. A batch is cut into small frames (`group`); what must stay in one is an event
/// with its deliveries, and a record.
pub(in crate::store) const MAX_LEN: usize = 640 << 20;
/// Largest body.
pub(in crate::store) const MAX_BODY: usize = MAX_LEN - FIXED;
const FIXED: usize = 1 + 8 + 4;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records that become true together (`codec`).
    Batch,
    /// What stands first in a segment (`format`).
    Header,
    /// Some of the records of a larger batch (`group`).
    Part,
    /// The last of them.
    Seal,
}

const KINDS: [(u8, Kind); 4] = [(1, Kind::Batch), (2, Kind::Header), (3, Kind::Part), (4, Kind::Seal)];

impl Kind {
    /// The kind that a frame's envelope names so.
    pub fn of(byte: u8) -> Option<Self> {
        KINDS.iter().find(|(of, _)| *of == byte).map(|(_, kind)| *kind)
    }
    /// Its name in a frame's envelope.
    pub fn byte(self) -> u8 {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or(0, |(byte, _)| *byte)
    }
}

/// A checked frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct JournalFrame<'a> {
    pub(in crate::store) kind: Kind,
    pub(in crate::store) number: u64,
    /// Frames of the same append before it.
    pub(in crate::store) lead: u32,
    pub(in crate::store) crc: u32,
    pub(in crate::store) body: &'a [u8],
}

/// Why there is no frame here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Flaw {
    /// This many bytes are needed to judge.
    Short(usize),
    /// Length, number or CRC are wrong.
    Bad,
    /// It is whole and of a kind that this version does not know.
    Unknown(u8),
}

/// What stands behind a bad place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Behind {
    /// Nothing that was looked for.
    Nothing,
    /// Such a frame begins at this offset.
    Frame(usize),
    /// A frame that only a newer version can judge.
    Unknown { at: usize, kind: u8 },
}

/// Appends a frame; returns its CRC. The caller has checked the body against `MAX_BODY`.
pub(in crate::store) fn encode(out: &mut Vec<u8>, kind: Kind, number: u64, lead: u32, body: &[u8]) -> u32 {
    let mut fixed = [0_u8; FIXED];
    fixed[0] = kind.byte();
    fixed[1..9].copy_from_slice(&number.to_le_bytes());
    fixed[9..].copy_from_slice(&lead.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&fixed), body);
    out.extend_from_slice(&((FIXED + body.len()) as u32).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(body);
    crc
}

/// The frame at the front of `bytes`.
pub(in crate::store) fn parse(bytes: &[u8]) -> Result<JournalFrame<'_>, Flaw> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(Flaw::Short(HEADER))?;
    let len = u32::from_le_bytes(*len) as usize;
    if !(FIXED..=MAX_LEN).contains(&len) {
        return Err(Flaw::Bad);
    }
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Short(HEADER))?;
    let crc = u32::from_le_bytes(*crc);
    let covered = rest.get(..len).ok_or(Flaw::Short(8 + len))?;
    if crc32c::crc32c(covered) != crc && !fault::planted("crc-ignored") {
        return Err(Flaw::Bad);
    }
    let (fixed, body) = covered.split_first_chunk::<FIXED>().ok_or(Flaw::Bad)?;
    let (number, lead) = numbers(fixed);
    let kind = match Kind::of(fixed[0]) {
        Some(kind) => kind,
        None if fault::planted("unknown-frame-is-bad") => return Err(Flaw::Bad),
        None => return Err(Flaw::Unknown(fixed[0])),
    };
    if u64::from(lead) >= number {
        return Err(Flaw::Bad);
    }
    Ok(JournalFrame { kind, number, lead, crc, body })
}

fn numbers(fixed: &[u8; FIXED]) -> (u64, u32) {
    let mut number = [0; 8];
    number.copy_from_slice(&fixed[1..9]);
    let mut lead = [0; 4];
    lead.copy_from_slice(&fixed[9..]);
    (u64::from_le_bytes(number), u32::from_le_bytes(lead))
}

/// Looks behind a bad place for a frame that proves that frame `lost` was once durable: a valid one with a later number whose
/// append began after `lost`. Anything else there is a torn append or stale garbage.
pub(in crate::store) fn proof_of_loss(bytes: &[u8], lost: u64) -> Behind {
    find(bytes, lost, |number, began| number > lost && began > lost)
}

/// Looks for the next frame that may stand in this journal where frame `expected` or a later one stood.
pub(in crate::store) fn next_good(bytes: &[u8], expected: u64) -> Behind {
    find(bytes, expected, |number, _| number >= expected)
}

/// The first valid frame whose number, and the number with which its append began, fit: and no later than as many frames have
/// room. One of an unknown kind may have followed other rules: its number is enough.
fn find(bytes: &[u8], expected: u64, fits: impl Fn(u64, u64) -> bool) -> Behind {
    let most = expected.saturating_add((bytes.len() / HEADER) as u64 + 1);
    for at in 0..bytes.len().saturating_sub(HEADER - 1) {
        let rest = &bytes[at..];
        let Some(fixed) = rest.get(8..).and_then(|r| r.first_chunk::<FIXED>()) else { break };
        let (number, lead) = numbers(fixed);
        // cheap tests first: the CRC is computed for next to nothing
        if !(expected..=most).contains(&number) {
            continue;
        }
        match parse(rest) {
            Ok(frame) if fits(frame.number, number.saturating_sub(u64::from(lead))) => {
                return Behind::Frame(at);
            }
            Err(Flaw::Unknown(kind)) => return Behind::Unknown { at, kind },
            Ok(_) | Err(Flaw::Short(_) | Flaw::Bad) => {}
        }
    }
    Behind::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, lead: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, Kind::Batch, number, lead, body);
        out
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = frame(7, 2, b"some body");
        let read = parse(&whole).unwrap();
        assert_eq!((read.number, read.lead, read.body), (7, 2, &b"some body"[..]));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            assert!(matches!(parse(&whole[..len]), Err(Flaw::Short(_))), "cut at {len}");
        }
    }

    #[test]
    fn only_a_later_append_proves_a_loss() {
        let cases: [(&str, Vec<u8>, bool); 6] = [
            ("nothing", vec![0; 64], false),
            ("a later append", frame(6, 0, b"x"), true),
            ("the same append", frame(6, 1, b"x"), false),
            ("an older frame", frame(4, 0, b"x"), false),
            ("the same number", frame(5, 0, b"x"), false),
            ("a number from nowhere", frame(9_000_000, 0, b"x"), false),
        ];
        for (name, tail, proves) in cases {
            let mut bytes = vec![0xA5; 37];
            bytes.extend_from_slice(&tail);
            let found = if proves { Behind::Frame(37) } else { Behind::Nothing };
            assert_eq!(proof_of_loss(&bytes, 5), found, "{name}");
        }
    }

    #[test]
    fn a_whole_frame_of_an_unknown_kind_is_neither_torn_nor_damaged() {
        for (number, lead) in [(5, 0), (6, 0), (6, 5)] {
            let mut strange = frame(number, lead, b"from the future");
            strange[8] = 77;
            let crc = crc32c::crc32c(&strange[8..]);
            strange[4..8].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(parse(&strange), Err(Flaw::Unknown(77)));
            let bytes = [vec![0xA5; 37], strange.clone()].concat();
            assert_eq!(proof_of_loss(&bytes, 5), Behind::Unknown { at: 37, kind: 77 });
            assert_eq!(next_good(&bytes, 5), Behind::Unknown { at: 37, kind: 77 });
            strange[9] ^= 1;
            assert_eq!(parse(&strange), Err(Flaw::Bad), "its CRC is wrong");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), lost: u64) {
            let _ = parse(&bytes);
            let _ = proof_of_loss(&bytes, lost);
        }
    }
}
