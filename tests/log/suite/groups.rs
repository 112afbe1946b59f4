//! Groups over a log: nobody above it sees half of one.
use super::{Ground, Hand, Parts, batch, body, holds, seen};
use tailhook::store::log::frame::Kind;
use tailhook::store::log::port::{Durability, FrameNo, Log, LogError, NewFrame, Placed};
use tailhook::store::log::whole::WholeGroups;

/// Appends parts, not durable; returns what a seal needs, and where and what they are.
async fn parts<L: Log>(hand: &Hand<L>, count: u64, bytes: usize) -> (Parts, FrameNo, Vec<(Placed, Vec<u8>)>) {
    let (mut parts, mut last, mut placed) = (Parts::default(), hand.last, Vec::new());
    for n in 0..count {
        let mut records = body(n);
        records.resize(records.len() + bytes, b'.');
        let part = parts.part(&records);
        let at = hand.later(last, Kind::Part, &part, (count - n) * (bytes as u64 + 100)).await;
        assert!(at.number > last);
        parts.put(&at);
        last = at.number;
        placed.push((at, part));
    }
    (parts, last, placed)
}

async fn seal<L: Log>(hand: &mut Hand<L>, (parts, last, placed): (Parts, FrameNo, Vec<(Placed, Vec<u8>)>)) {
    let body = parts.seal(b"the end");
    let frames = [NewFrame { kind: Kind::Seal, body: &body }];
    let sealed = hand.log.append(&frames, last, Durability::Now).await.unwrap();
    let (mut at, mut bodies): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
    at.extend(sealed.frames);
    bodies.push(body);
    hand.note(&at, &bodies);
}

/// A transaction of any size, in bounded memory, at once or not at all.
pub(crate) async fn a_group_comes_with_its_seal(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..2).await;
    let open = parts(&hand, 4, 50).await;
    holds(&hand.log, &hand, "a part is not to be seen").await;
    seal(&mut hand, open).await;
    holds(&hand.log, &hand, "the whole group is there").await;
    hand.append(2..3).await;
    holds(&ground.open().await, &hand, "the whole group is there").await;
}

/// A committer that was refused in the middle of a group begins with something else.
pub(crate) async fn a_group_that_was_given_up_is_passed_over(mut ground: impl Ground) {
    for n in 0..3 {
        let mut hand = Hand::on(ground.open().await).await;
        hand.append(10 * n..10 * n + 2).await;
        parts(&hand, n + 1, 50).await;
        hand.append(10 * n + 2..10 * n + 3).await;
        holds(&hand.log, &hand, "a part without its seal is not to be seen").await;
        parts(&hand, n + 1, 50).await;
        let open = parts(&hand, 3, 20).await;
        seal(&mut hand, open).await;
        holds(&hand.log, &hand, "the group after the one that was given up").await;
        holds(&ground.open().await, &hand, "a part without its seal is not to be seen").await;
        ground.crash(0).await;
        holds(&ground.open().await, &hand, "a part without its seal is not to be seen").await;
    }
}

/// The power fails before the seal: with any part of the group on the disk.
pub(crate) async fn a_group_without_its_seal_is_not_there_after_a_crash(mut ground: impl Ground) {
    for kept in [0, 20, 100, 200, usize::MAX] {
        let mut hand = Hand::on(ground.open().await).await;
        hand.append(0..2).await;
        parts(&hand, 3, 50).await;
        ground.crash(kept).await;
        let log = ground.open().await;
        holds(&log, &hand, "a part without its seal is not to be seen").await;
        let claim = log.claim().await.unwrap();
        hand = Hand { log, last: claim.last, told: hand.told };
        hand.append(2..4).await;
        let open = parts(&hand, 2, 10).await;
        seal(&mut hand, open).await;
        holds(&ground.open().await, &hand, "the log goes on after a group that never ended").await;
    }
}

/// A group is longer than what anybody holds in memory; a reader that comes in the middle of the log finds it too.
pub(crate) async fn a_group_of_many_frames_is_read_whole(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..2).await;
    let begins = hand.last + 1;
    let open = parts(&hand, 40, 20_000).await;
    seal(&mut hand, open).await;
    hand.append(2..4).await;
    holds(&hand.log, &hand, "all of it").await;
    let mut groups = WholeGroups::new(hand.log.read(begins).await.unwrap());
    let mut count = 0;
    while let Some(frame) = groups.next().await.unwrap() {
        count += usize::from(frame.kind != Kind::Header);
    }
    assert_eq!(count, 43);
}

/// One append and one sync for many: a group may begin behind another one's frames.
pub(crate) async fn batches_and_parts_share_an_append(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..1).await;
    let mut parts = Parts::default();
    let first = parts.part(b"first part");
    let frames = [batch(b"before"), NewFrame { kind: Kind::Part, body: &first }];
    let appended = hand.log.append(&frames, hand.last, Durability::Later { more: 50 }).await.unwrap();
    let (before, part) = (appended.frames[0], appended.frames[1]);
    parts.put(&part);
    let last = parts.seal(b"last");
    let frames = [NewFrame { kind: Kind::Seal, body: &last }, batch(b"after")];
    let sealed = hand.log.append(&frames, part.number, Durability::Now).await.unwrap();
    let placed = [before, part, sealed.frames[0], sealed.frames[1]];
    hand.note(&placed, &[b"before".to_vec(), first, last, b"after".to_vec()]);
    holds(&ground.open().await, &hand, "in one append").await;
    // a seal that does not fit what stands before it says that a frame is missing: that is no group given up
    let odd = Parts::default().seal(b"odd");
    let frames = [NewFrame { kind: Kind::Seal, body: &odd }];
    if hand.log.append(&frames, hand.last, Durability::Now).await.is_ok() {
        let log = ground.open().await;
        let first = log.chunks().await.unwrap()[0].first;
        let mut groups = WholeGroups::new(log.read(first).await.unwrap());
        let end = loop {
            match groups.next().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(end, Err(LogError::Damaged(_))), "{end:?}");
    } else {
        assert_eq!(seen(&ground.open().await).await, hand.told);
    }
}
