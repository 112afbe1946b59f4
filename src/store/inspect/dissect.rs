//! A damaged journal taken apart: which frames are good, where the bad bytes are, what is lost. Pure; changes nothing.
use crate::domain::Lsn;
use crate::store::log::frame::{self, Behind, Flaw, HEADER, Kind};
use crate::store::log::group::{Group, GroupStep};
use crate::store::records::codec;
use crate::store::records::record::{Batch, Identity, Record};
use crate::store::state::FollowedHistory;

/// A stretch of a segment's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum DissectedPiece {
    /// A whole frame.
    Frame { kind: Kind, number: u64, crc: u32, at: usize, len: usize },
    /// Bytes that are none, where frames `from` to `to` (exclusive) must have stood.
    Bad { at: usize, len: usize, from: u64, to: u64 },
    /// Bytes of an append that was never acknowledged, at the end of the last segment: the next start cuts them off.
    Torn { at: usize, len: usize },
}

/// A frame that only a newer version can judge: nothing of the segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Strange {
    pub(in crate::store) at: usize,
    pub(in crate::store) kind: u8,
}

/// All of a segment, in order. `following`: the first frame of the next segment; `None`: this is the last one.
pub(in crate::store) fn dissect(
    bytes: &[u8],
    first: u64,
    following: Option<u64>,
) -> Result<Vec<DissectedPiece>, Strange> {
    let mut pieces = Vec::new();
    let (mut at, mut expected) = (0, first);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match frame::parse(rest) {
            Ok(found) if found.number == expected => {
                let (kind, crc, len) = (found.kind, found.crc, HEADER + found.body.len());
                pieces.push(DissectedPiece::Frame { kind, number: expected, crc, at, len });
                (at, expected) = (at + len, expected + 1);
                continue;
            }
            Err(Flaw::Unknown(kind)) => return Err(Strange { at, kind }),
            Ok(_) | Err(Flaw::Short(_) | Flaw::Bad) => {}
        }
        if following.is_none() {
            match frame::proof_of_loss(rest, expected) {
                Behind::Nothing => {
                    pieces.push(DissectedPiece::Torn { at, len: rest.len() });
                    break;
                }
                Behind::Frame(_) => {}
                Behind::Unknown { at: behind, kind } => return Err(Strange { at: at + behind, kind }),
            }
        }
        let next = match frame::next_good(rest, expected) {
            Behind::Nothing => None,
            Behind::Frame(next) => Some(next),
            Behind::Unknown { at: behind, kind } => return Err(Strange { at: at + behind, kind }),
        };
        let len = next.unwrap_or(rest.len());
        let number = next.and_then(|next| frame::parse(&rest[next..]).ok()).map(|frame| frame.number);
        // without either, what stood there is part of the next loss
        let to = number.or(following).unwrap_or(expected).max(expected);
        pieces.push(DissectedPiece::Bad { at, len, from: expected, to });
        (at, expected) = (at + len, to);
    }
    if let Some(to) = following.filter(|following| *following > expected) {
        pieces.push(DissectedPiece::Bad { at, len: 0, from: expected, to });
    }
    Ok(whole_groups(bytes, pieces, following.is_none()))
}

/// Frames of a group that is not whole are lost with what is missing of it; at the end of the last segment they are torn.
fn whole_groups(bytes: &[u8], pieces: Vec<DissectedPiece>, is_last: bool) -> Vec<DissectedPiece> {
    let mut out: Vec<DissectedPiece> = Vec::with_capacity(pieces.len());
    let mut group = Group::default();
    // where the group that is open begins in `out`
    let mut open = None;
    for piece in pieces {
        let step = match piece {
            DissectedPiece::Frame { kind, crc, at, len, .. } => {
                group.follow(kind, crc, &bytes[at + HEADER..at + len])
            }
            DissectedPiece::Bad { .. } | DissectedPiece::Torn { .. } => {
                group = Group::default();
                GroupStep::Breaks
            }
        };
        match (step, piece) {
            (GroupStep::Begins, _) => open = Some(out.len()),
            (GroupStep::GoesOn, _) => {}
            (GroupStep::Alone | GroupStep::Seals, _) => open = None,
            (GroupStep::Breaks, DissectedPiece::Torn { at, len }) => {
                let torn = open.take().map_or((at, len), |from| cut(&mut out, from, at + len));
                out.push(DissectedPiece::Torn { at: torn.0, len: torn.1 });
                continue;
            }
            (GroupStep::Breaks, _) => {
                lose(&mut out, open.take());
                // without what stands before it, a part or a seal is worth nothing; others stand alone
                let alone = matches!(piece, DissectedPiece::Frame { kind: Kind::Batch | Kind::Header, .. });
                out.push(piece);
                let last = (!alone).then(|| out.len() - 1);
                lose(&mut out, last);
                continue;
            }
        }
        out.push(piece);
    }
    match open.filter(|_| is_last) {
        Some(from) => {
            let (at, len) = cut(&mut out, from, bytes.len());
            out.push(DissectedPiece::Torn { at, len });
        }
        None => lose(&mut out, open),
    }
    out
}

/// Takes the pieces from `from` on away; where they began, and their bytes up to `end`.
fn cut(out: &mut Vec<DissectedPiece>, from: usize, end: usize) -> (usize, usize) {
    let at = match out.drain(from..).next() {
        Some(
            DissectedPiece::Frame { at, .. }
            | DissectedPiece::Bad { at, .. }
            | DissectedPiece::Torn { at, .. },
        ) => at,
        None => end,
    };
    (at, end - at)
}

/// The frames from `from` on are lost.
fn lose(out: &mut [DissectedPiece], from: Option<usize>) {
    let Some(from) = from else { return };
    for piece in &mut out[from..] {
        if let DissectedPiece::Frame { number, at, len, .. } = *piece {
            *piece = DissectedPiece::Bad { at, len, from: number, to: number + 1 };
        }
    }
}

/// What the good frames say of positions, in order.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Past {
    pub(in crate::store) history: FollowedHistory,
}

impl Past {
    pub(in crate::store) fn frame(&mut self, batch: &Batch) {
        for record in &batch.records {
            match record {
                Record::Filling(identity) => {
                    self.history = FollowedHistory {
                        filling: Some(identity.clone()),
                        ..std::mem::take(&mut self.history)
                    };
                    (self.history.identity, self.history.position) = (None, None);
                }
                Record::Identity(identity) => self.history.follow(identity.clone()),
                Record::Position(lsn) => drop(self.history.advance(*lsn)),
                _ => {}
            }
        }
    }
}

/// A frame that says nothing, in place of a lost one: so that every other keeps its number.
pub(in crate::store) fn empty(out: &mut Vec<u8>, number: u64) {
    frame::encode(out, Kind::Batch, number, 0, &codec::encode(&Batch::default()).0);
}

/// The frame that ends a salvaged journal: the history is marked as lost and set back to where the loss begins, so that capture
/// reports a gap from there and shadow and subscriptions are read anew when it is accepted.
pub(in crate::store) fn set_back(out: &mut Vec<u8>, number: u64, history: &FollowedHistory, to: Lsn) {
    let Some(identity) = history.identity.as_ref().or(history.filling.as_ref()) else {
        // nothing that could be followed is known: a slot beside such a folder is a gap as it is
        return empty(out, number);
    };
    // a position goes back only where another history begins: twice, lest it is marked already
    let other = Identity { epoch: [0xFE; 16], ..identity.clone() };
    let lost = Identity { epoch: Identity::LOST, ..identity.clone() };
    let records = vec![Record::Identity(other), Record::Identity(lost), Record::Position(to)];
    frame::encode(out, Kind::Batch, number, 0, &codec::encode(&Batch { records }).0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers {
            empty(&mut bytes, *number);
        }
        bytes
    }

    /// Frames by number, `n..m` lost, `~` torn.
    fn seen(bytes: &[u8], first: u64, following: Option<u64>) -> String {
        let word = |piece: &DissectedPiece| match piece {
            DissectedPiece::Frame { number, .. } => number.to_string(),
            DissectedPiece::Bad { from, to, .. } => format!("{from}..{to}"),
            DissectedPiece::Torn { .. } => "~".to_owned(),
        };
        dissect(bytes, first, following).unwrap().iter().map(word).collect::<Vec<_>>().join(" ")
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_whole(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), first in 1_u64..9, last: bool) {
            empty(&mut bytes, first + 1);
            let pieces = dissect(&bytes, first, last.then_some(first + 3)).unwrap();
            let lengths = pieces.iter().map(|piece| match piece {
                DissectedPiece::Frame { len, .. } | DissectedPiece::Bad { len, .. } | DissectedPiece::Torn { len, .. } => *len,
            });
            prop_assert_eq!(lengths.sum::<usize>(), bytes.len());
        }
    }

    #[test]
    fn what_is_lost_is_told_from_what_is_torn() {
        let whole = frames(&[3, 4, 5, 6]);
        let one = whole.len() / 4;
        assert_eq!(seen(&whole, 3, None), "3 4 5 6");
        for bit in 0..one * 8 {
            let flip = |frame: usize| {
                let mut bytes = whole.clone();
                bytes[frame * one + bit / 8] ^= 1 << (bit % 8);
                bytes
            };
            assert_eq!(seen(&flip(1), 3, None), "3 4..5 5 6", "bit {bit}");
            assert_eq!(seen(&flip(3), 3, None), "3 4 5 ~", "bit {bit}");
            assert_eq!(seen(&flip(3), 3, Some(7)), "3 4 5 6..7", "bit {bit}");
            assert_eq!(seen(&flip(0), 3, Some(7)), "3..4 4 5 6", "bit {bit}");
        }
        let mut two = whole.clone();
        two[one..3 * one].fill(0);
        assert_eq!(seen(&two, 3, None), "3 4..6 6");
        assert_eq!(seen(&whole[..one + 5], 3, Some(9)), "3 4..9");
        assert_eq!(seen(&whole[..one + 5], 3, None), "3 ~");
        assert_eq!(seen(&whole[..one], 3, Some(9)), "3 4..9");
    }
}
