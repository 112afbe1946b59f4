//! Frames in order: numbers, contents, sizes.
use super::{Ground, Hand, Parts, batch, body, everything, frames, holds, said, seen};
use tailhook::store::log::frame::Kind;
use tailhook::store::log::port::{Durability, Log, LogError, NewFrame, PORTABLE};

/// A first start must be told from a log that lost everything by what is beside it, not by an error.
pub(crate) async fn an_empty_log_has_no_frames(ground: impl Ground) {
    let log = ground.open().await;
    assert_eq!(log.last().await, Ok(0));
    assert_eq!(log.chunks().await.unwrap(), []);
    assert_eq!(frames(&log, 1).await, []);
    let hand = Hand::on(log).await;
    assert_eq!((hand.last, hand.told.len()), (0, 0));
    hand.log.trim(5).await.unwrap();
    assert_eq!(ground.open().await.last().await, Ok(0), "a claim writes no frame");
}

/// A hole would be a lost frame: a reader must be able to tell.
pub(crate) async fn numbers_ascend_without_holes(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for n in [1, 3, 1, 20, 2] {
        let placed = hand.append(hand.last..hand.last + n).await;
        assert_eq!(placed.len() as u64, n);
        assert!(placed.windows(2).all(|two| two[0].number + 1 == two[1].number), "consecutive: {placed:?}");
        assert_eq!(hand.log.last().await, Ok(hand.last));
    }
    // `frames` looks for holes
    assert_eq!(said(&frames(&hand.log, 1).await), hand.told);
}

/// The checksum is an identity: an index that was written beside this log knows it again by that.
pub(crate) async fn what_is_read_is_what_was_appended(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    let mut placed = Vec::new();
    for n in 0..30 {
        placed.extend(hand.append(2 * n..2 * n + 2).await);
    }
    let empty = hand.try_append(&[Vec::new()]).await.unwrap();
    placed.extend(empty);
    let read: Vec<_> = everything(&hand.log).await.into_iter().filter(|f| f.kind == Kind::Batch).collect();
    assert_eq!(read.iter().map(|frame| frame.at).collect::<Vec<_>>(), placed);
    assert_eq!(said(&read), hand.told);
    let crcs: std::collections::BTreeSet<u32> = placed.iter().map(|at| at.crc).collect();
    assert_eq!(crcs.len(), placed.len(), "number and body are in the checksum");
}

/// A committer that has nothing to say must not make frames of it.
pub(crate) async fn an_append_of_nothing_is_no_frame(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..3).await;
    let nothing = hand.log.append(&[], hand.last, Durability::Now).await.unwrap();
    assert!(nothing.frames.is_empty());
    assert_eq!(hand.log.last().await, Ok(hand.last));
    hand.append(3..4).await;
    holds(&hand.log, &hand, "nothing is between").await;
}

/// Places and checksums are kept by others (the index) over a restart.
pub(crate) async fn a_log_is_the_same_when_it_is_opened_again(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for n in 0..10 {
        hand.append(3 * n..3 * n + 3).await;
        let other = ground.open().await;
        assert_eq!(everything(&other).await, everything(&hand.log).await, "opened to be read");
        assert_eq!(other.last().await, Ok(hand.last));
        let before = everything(&hand.log).await;
        drop(other);
        hand = Hand::on(ground.open().await).await;
        assert_eq!(everything(&hand.log).await, before, "opened to be written");
    }
}

/// What one log takes another must take, or a store could not move. Memory is bounded by the limit.
pub(crate) async fn a_frame_of_900_kib_is_taken_and_too_large_a_one_is_not(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..1).await;
    assert!(hand.log.largest() >= PORTABLE);
    let large: Vec<u8> = (0..PORTABLE as u32).map(|n| (n % 251) as u8).collect();
    hand.try_append(std::slice::from_ref(&large)).await.unwrap();
    hand.try_append(&[b"small".to_vec(), large.clone(), large]).await.unwrap();
    let too_large = vec![0; hand.log.largest() + 1];
    let bytes = too_large.len();
    assert_eq!(hand.try_append(&[b"small".to_vec(), too_large]).await, Err(LogError::TooLarge(bytes)));
    assert_eq!(hand.log.last().await, Ok(hand.last), "nothing of it was taken");
    hand.append(1..2).await;
    holds(&hand.log, &hand, "the log goes on").await;
}

/// A seal that is missing on purpose would be cut off after a crash although it was acknowledged.
pub(crate) async fn frames_that_are_no_whole_groups_are_refused(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..1).await;
    let part = Parts::default().part(b"part");
    let parts = [batch(b"x"), NewFrame { kind: Kind::Part, body: &part }];
    let headers = [NewFrame { kind: Kind::Header, body: b"" }, batch(b"x")];
    for frames in [&parts, &headers] {
        let refused = hand.log.append(frames, hand.last, Durability::Now).await;
        assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    }
    hand.try_append(&[body(2)]).await.unwrap();
    assert_eq!(seen(&ground.open().await).await, hand.told);
}
