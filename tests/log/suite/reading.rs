//! Reading: from anywhere, by several at once, and by place.
use super::{Ground, Hand, body, everything, frames, said};
use tailhook::store::log::frame::Kind;
use tailhook::store::log::port::{Log, LogReader, Place};

/// A restart reads from the frame that its index has.
pub(crate) async fn reading_begins_anywhere(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for n in 0..12 {
        hand.append(3 * n..3 * n + 3).await;
    }
    let all = frames(&hand.log, 1).await;
    for log in [&hand.log, &ground.open().await] {
        for from in 1..=hand.last {
            assert_eq!(frames(log, from).await, all[from as usize - 1..], "from frame {from}");
        }
        assert_eq!(frames(log, hand.last + 1).await, [], "behind the last");
    }
}

/// Several instances tail one log.
pub(crate) async fn readers_are_independent(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..20).await;
    let other = ground.open().await;
    let (mut one, mut two) = (hand.log.read(1).await.unwrap(), other.read(1).await.unwrap());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for turn in 0..40 {
        let mine = turn % 3 == 0;
        let (reader, into) = if mine { (&mut one, &mut first) } else { (&mut two, &mut second) };
        into.extend(reader.next().await.unwrap());
    }
    let all = frames(&hand.log, 1).await;
    assert_eq!(first, all[..first.len()]);
    assert_eq!(second, all);
}

/// To look ahead for a seal without losing one's place.
pub(crate) async fn a_fork_goes_on_from_the_same_frame(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..10).await;
    let mut reader = hand.log.read(1).await.unwrap();
    let mut all = Vec::new();
    while let Some(frame) = reader.next().await.unwrap() {
        all.push(frame);
        let mut fork = reader.fork();
        let mut ahead = Vec::new();
        while let Some(frame) = fork.next().await.unwrap() {
            ahead.push(frame);
        }
        assert_eq!(ahead.len() as u64, hand.last - all[all.len() - 1].at.number);
        assert!(ahead.first().is_none_or(|next| next.at.number == all[all.len() - 1].at.number + 1));
    }
    assert_eq!(said(&all), hand.told);
}

/// Whoever is told that its frame is durable finds it at once.
pub(crate) async fn a_reader_sees_what_append_returned(ground: impl Ground) {
    let log = ground.open().await;
    log.claim().await.unwrap();
    // the hand has another reference to the same log
    let log = std::sync::Arc::new(log);
    let mut reader = log.read(1).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), None);
    let (mut last, mut seen) = (0, Vec::new());
    for n in 0..30 {
        let body = body(n);
        let appended = append(&*log, &body, last).await;
        last = appended;
        let next = ours(&mut *reader).await.unwrap();
        assert_eq!((next.0, &next.1), (last, &body), "read after append");
        assert_eq!(ours(&mut *reader).await, None);
        seen.push(next);
    }
    assert_eq!(said(&everything(&*log).await), seen);
}

async fn append(log: &impl Log, body: &[u8], expected: u64) -> u64 {
    let frames = [super::batch(body)];
    let appended = log.append(&frames, expected, tailhook::store::log::port::Durability::Now).await;
    appended.unwrap().frames[0].number
}

/// The next frame that is not the log's own.
async fn ours(reader: &mut dyn LogReader) -> Option<(u64, Vec<u8>)> {
    loop {
        let frame = reader.next().await.unwrap()?;
        if frame.kind != Kind::Header {
            return Some((frame.at.number, frame.body.to_vec()));
        }
    }
}

/// An event is read back for each attempt: a few hundred bytes of a frame.
pub(crate) async fn a_body_is_fetched_in_pieces(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    let mut placed = Vec::new();
    for n in 0..10 {
        placed.extend(hand.append(4 * n..4 * n + 4).await);
    }
    for log in [&hand.log, &ground.open().await] {
        for (at, (_, body)) in placed.iter().zip(&hand.told) {
            for (from, len) in [(0, body.len()), (3, 4), (body.len(), 0), (body.len() - 1, 1)] {
                let fetched = log.fetch(at.place.plus(from as u64), len).await.unwrap().unwrap();
                assert_eq!(&fetched[..], &body[from..from + len], "{from}+{len} of {at:?}");
            }
        }
    }
    let nowhere = Place { home: hand.last, offset: u64::MAX - 10 };
    assert!(!matches!(hand.log.fetch(nowhere, 5).await, Ok(Some(_))), "a place that is none");
}
