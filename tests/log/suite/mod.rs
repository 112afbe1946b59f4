//! What every log promises (`store::log::port`), one promise a case. Another log runs it unchanged: it gives a `Ground` and says
//! `suite::hold!(name, Ground)`. Must not: depend on what a log is made of.
use async_trait::async_trait;
use std::fmt::Debug;
use tailhook::store::log::frame::Kind;
use tailhook::store::log::port::{
    Durability, FrameNo, Log, LogError, NewFrame, Placed, StoredFrame, resolve,
};
use tailhook::store::log::whole::WholeGroups;

pub(crate) mod failures;
pub(crate) mod groups;
pub(crate) mod order;
pub(crate) mod reading;
pub(crate) mod trimming;
pub(crate) mod writers;

/// Where one log lies, empty at first, and what can be done to it there.
#[async_trait]
pub(crate) trait Ground: Send + Sync + Sized {
    type Log: Log;
    async fn fresh() -> Self;
    /// A handle on the log, as another process would have it.
    async fn open(&self) -> Self::Log;
    /// The power fails: what is not durable is gone, but for this many bytes of it, where that can be chosen. Handles are of no use
    /// any more.
    async fn crash(&mut self, kept: usize);
    /// While it is set appends cannot succeed; so many bytes of the next one may still be taken. False: that cannot be done here.
    async fn refuse(&self, refuse: bool, taken: usize) -> bool;
    /// The next append is taken, and its answer lost. False: that cannot be done here.
    async fn lose_answer(&self, log: &Self::Log) -> bool;
    /// Changes a byte of this text where it lies. False: that cannot be done here.
    async fn damage(&self, text: &[u8]) -> bool;
    /// Is damage told from the log's end? Else the log is shorter than what was acknowledged, and whoever has a greater number must
    /// refuse it.
    fn names_damage(&self) -> bool {
        true
    }
}

/// One test a case.
macro_rules! hold {
    ($name:ident, $ground:ty) => {
        mod $name {
            use super::*;
            crate::suite::hold!(@ $ground, order:
                an_empty_log_has_no_frames,
                numbers_ascend_without_holes,
                what_is_read_is_what_was_appended,
                an_append_of_nothing_is_no_frame,
                a_log_is_the_same_when_it_is_opened_again,
                a_frame_of_900_kib_is_taken_and_too_large_a_one_is_not,
                frames_that_are_no_whole_groups_are_refused,
            );
            crate::suite::hold!(@ $ground, writers:
                another_number_than_the_last_is_fenced,
                a_former_writer_is_fenced,
                a_former_writer_that_claims_goes_on,
                the_last_of_many_claims_writes,
                many_turns_of_two_writers_lose_nothing,
                a_claim_of_one_that_stops_changes_nothing,
            );
            crate::suite::hold!(@ $ground, failures:
                what_was_acknowledged_survives_a_power_cut,
                a_refused_append_leaves_nothing,
                a_prefix_of_a_refused_append_counts_for_nothing,
                a_refused_end_takes_along_what_was_given_for_later,
                a_lost_answer_is_resolved,
                another_writers_frames_are_not_taken_for_ones_own,
                an_append_that_was_dropped_is_resolved,
                a_power_cut_in_an_append_leaves_a_prefix,
                damage_is_not_read,
            );
            crate::suite::hold!(@ $ground, groups:
                a_group_comes_with_its_seal,
                a_group_that_was_given_up_is_passed_over,
                a_group_without_its_seal_is_not_there_after_a_crash,
                a_group_of_many_frames_is_read_whole,
                batches_and_parts_share_an_append,
            );
            crate::suite::hold!(@ $ground, reading:
                reading_begins_anywhere,
                readers_are_independent,
                a_fork_goes_on_from_the_same_frame,
                a_reader_sees_what_append_returned,
                a_body_is_fetched_in_pieces,
            );
            crate::suite::hold!(@ $ground, trimming:
                what_is_not_trimmed_stays,
                trimming_everything_keeps_the_last_number,
                what_was_trimmed_is_neither_read_nor_fetched,
                trimming_goes_on_after_a_crash,
                places_tell_what_may_be_trimmed,
            );
        }
    };
    (@ $ground:ty, $module:ident: $($case:ident,)*) => {
        mod $module {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                crate::suite::$module::$case(<$ground as crate::suite::Ground>::fresh().await).await;
            })*
        }
    };
}
pub(crate) use hold;

/// A body that differs from others in number and length.
pub(crate) fn body(n: u64) -> Vec<u8> {
    let mut body = format!("body {n:06}.").into_bytes();
    body.resize(body.len() + (n % 7) as usize * 19, b'a' + (n % 26) as u8);
    body
}

pub(crate) fn batch(body: &[u8]) -> NewFrame<'_> {
    NewFrame { kind: Kind::Batch, body }
}

/// Bodies of parts and their seal, as the store makes them: the seal counts the parts and has a checksum of theirs.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    count: u32,
    crc: u32,
}

impl Parts {
    pub(crate) fn part(&self, records: &[u8]) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], records].concat()
    }
    pub(crate) fn put(&mut self, placed: &Placed) {
        self.count += 1;
        self.crc = crc32c::crc32c_append(self.crc, &placed.crc.to_le_bytes());
    }
    pub(crate) fn seal(&self, records: &[u8]) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &self.crc.to_le_bytes(), records].concat()
    }
}

/// A writer, and what it has been told is durable.
#[derive(Debug)]
pub(crate) struct Hand<L> {
    pub(crate) log: L,
    pub(crate) last: FrameNo,
    /// What was acknowledged.
    pub(crate) told: Vec<(FrameNo, Vec<u8>)>,
}

impl<L: Log> Hand<L> {
    /// Claims the log and goes on with what is in it.
    pub(crate) async fn on(log: L) -> Self {
        let claim = log.claim().await.unwrap();
        assert_eq!(log.last().await, Ok(claim.last));
        let told = seen(&log).await;
        Self { log, last: claim.last, told }
    }
    pub(crate) async fn try_append(&mut self, bodies: &[Vec<u8>]) -> Result<Vec<Placed>, LogError> {
        let frames: Vec<_> = bodies.iter().map(|body| batch(body)).collect();
        let appended = self.log.append(&frames, self.last, Durability::Now).await?;
        self.note(&appended.frames, bodies);
        Ok(appended.frames)
    }
    pub(crate) async fn append(&mut self, numbers: std::ops::Range<u64>) -> Vec<Placed> {
        let bodies: Vec<_> = numbers.map(body).collect();
        self.try_append(&bodies).await.unwrap()
    }
    /// These are durable.
    pub(crate) fn note(&mut self, placed: &[Placed], bodies: &[Vec<u8>]) {
        assert_eq!(placed.len(), bodies.len(), "a place for each frame");
        for (at, body) in placed.iter().zip(bodies) {
            assert!(at.number > self.last, "frame {} after {}", at.number, self.last);
            self.last = at.number;
            self.told.push((at.number, body.clone()));
        }
    }
    /// Appends for later.
    pub(crate) async fn later(&self, after: FrameNo, kind: Kind, body: &[u8], more: u64) -> Placed {
        let appended = self.log.append(&[NewFrame { kind, body }], after, Durability::Later { more }).await;
        appended.unwrap().frames[0]
    }
    /// What the store does when an append has failed, or was given up: what became of it first, then the rest of it.
    pub(crate) async fn again(&mut self, bodies: &[Vec<u8>]) {
        let mut rest = bodies;
        for _ in 0..100 {
            let frames: Vec<_> = rest.iter().map(|body| batch(body)).collect();
            let there = resolve(&self.log, &frames, self.last).await.unwrap();
            let (ours, missing) = rest.split_at(there.len());
            self.note(&there, ours);
            rest = missing;
            match self.try_append(rest).await {
                Ok(_) => return,
                // what was under way has come after all
                Err(LogError::Fenced { .. } | LogError::Unclear(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        panic!("it is never settled");
    }
}

/// All frames, the log's own too.
pub(crate) async fn frames(log: &impl Log, from: FrameNo) -> Vec<StoredFrame> {
    let mut reader = log.read(from).await.unwrap();
    let mut all: Vec<StoredFrame> = Vec::new();
    while let Some(frame) = reader.next().await.unwrap() {
        let before = all.last().map_or(from.max(1) - 1, |before| before.at.number);
        assert_eq!(frame.at.number, before + 1, "no hole");
        assert!(frame.at.place.home <= frame.at.number, "a place's home is no later frame");
        all.push(frame);
    }
    all
}

/// All frames that are there.
pub(crate) async fn everything(log: &impl Log) -> Vec<StoredFrame> {
    let first = log.chunks().await.unwrap().first().map_or(1, |chunk| chunk.first);
    frames(log, first).await
}

/// Numbers and bodies of what was appended.
pub(crate) fn said(frames: &[StoredFrame]) -> Vec<(FrameNo, Vec<u8>)> {
    let ours = frames.iter().filter(|frame| frame.kind != Kind::Header);
    ours.map(|frame| (frame.at.number, frame.body.to_vec())).collect()
}

/// What a store would see, from the beginning: frames of whole groups.
pub(crate) async fn seen(log: &impl Log) -> Vec<(FrameNo, Vec<u8>)> {
    let first = log.chunks().await.unwrap().first().map_or(1, |chunk| chunk.first);
    let mut groups = WholeGroups::new(log.read(first).await.unwrap());
    let mut all = Vec::new();
    while let Some(frame) = groups.next().await.unwrap() {
        all.push(frame);
    }
    said(&all)
}

/// Is what is there what was acknowledged, and nothing else?
pub(crate) async fn holds<L: Log>(log: &impl Log, hand: &Hand<L>, why: &str) {
    assert_eq!(seen(log).await, hand.told, "{why}");
}
