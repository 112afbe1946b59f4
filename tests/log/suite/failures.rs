//! What is left of an append that fails, is answered to nobody, or ends with the power.
use super::{Ground, Hand, batch, body, holds, seen};
use tailhook::store::log::frame::Kind;
use tailhook::store::log::port::{Durability, Log, LogError, resolve};

/// The promise that everything stands on.
pub(crate) async fn what_was_acknowledged_survives_a_power_cut(mut ground: impl Ground) {
    for n in 0..8 {
        let mut hand = Hand::on(ground.open().await).await;
        hand.append(4 * n..4 * n + 3).await;
        hand.append(4 * n + 3..4 * n + 4).await;
        ground.crash(0).await;
        let log = ground.open().await;
        holds(&log, &hand, "it was acknowledged").await;
        assert_eq!(log.last().await, Ok(hand.last));
    }
}

/// A full disk heals; what it refused may be given again, and is there once.
pub(crate) async fn a_refused_append_leaves_nothing(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..3).await;
    if !ground.refuse(true, 0).await {
        return;
    }
    for _ in 0..3 {
        let refused = hand.try_append(&[body(3), body(4)]).await;
        assert!(matches!(refused, Err(LogError::Refused(_) | LogError::Unclear(_))), "{refused:?}");
    }
    ground.refuse(false, 0).await;
    hand.again(&[body(3), body(4)]).await;
    hand.append(5..6).await;
    holds(&ground.open().await, &hand, "once").await;
}

/// Half a frame, or one of two: nobody was told, so nobody may see it, and what follows must not be lost behind it.
pub(crate) async fn a_prefix_of_a_refused_append_counts_for_nothing(mut ground: impl Ground) {
    let bodies = [body(13), body(12), body(11)];
    for taken in [1, 30, 150, 220, 300] {
        let mut hand = Hand::on(ground.open().await).await;
        hand.append(0..2).await;
        if !ground.refuse(true, taken).await {
            return;
        }
        assert!(hand.try_append(&bodies).await.is_err());
        ground.refuse(false, 0).await;
        holds(&hand.log, &hand, "refused is not there").await;
        hand.append(7..8).await;
        holds(&hand.log, &hand, "a prefix is gone").await;
        ground.crash(usize::MAX).await;
        holds(&ground.open().await, &hand, "a prefix is gone").await;
    }
}

/// Batches that were given for later are nobody's until the append that makes them durable has ended well: where it is refused they do
/// not count, and where that cannot be promised it is not refused but unclear.
pub(crate) async fn a_refused_end_takes_along_what_was_given_for_later(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..2).await;
    let given = hand.later(hand.last, Kind::Batch, &body(2), 100).await;
    if !ground.refuse(true, 0).await {
        return;
    }
    let end = body(3);
    let ended = hand.log.append(&[batch(&end)], given.number, Durability::Now).await;
    ground.refuse(false, 0).await;
    match ended {
        Err(LogError::Refused(_)) => drop(hand.append(4..5).await),
        Err(LogError::Unclear(_)) => hand.again(&[body(2), end]).await,
        other => panic!("{other:?}"),
    }
    holds(&ground.open().await, &hand, "all or nothing").await;
}

/// The frames are there and the writer does not know: given blindly again they would be there twice.
pub(crate) async fn a_lost_answer_is_resolved(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for n in 0..5 {
        hand.append(10 * n..10 * n + 2).await;
        if !ground.lose_answer(&hand.log).await {
            return;
        }
        let bodies: Vec<_> = (10 * n + 2..10 * n + 5).map(body).collect();
        let lost = hand.try_append(&bodies).await;
        assert!(matches!(lost, Err(LogError::Unclear(_) | LogError::Refused(_))), "{lost:?}");
        ground.refuse(false, 0).await;
        hand.again(&bodies).await;
        holds(&ground.open().await, &hand, "once, in order").await;
    }
}

/// The one who asks what became of its append must not adopt a stranger's.
pub(crate) async fn another_writers_frames_are_not_taken_for_ones_own(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..2).await;
    let wanted = [batch(b"mine"), batch(b"mine too")];
    assert_eq!(resolve(&hand.log, &wanted, hand.last).await, Ok(Vec::new()), "nothing is there");
    let mut other = Hand::on(ground.open().await).await;
    other.try_append(&[b"mine".to_vec(), b"theirs".to_vec()]).await.unwrap();
    let log = ground.open().await;
    assert_eq!(resolve(&log, &wanted, hand.last).await, Err(LogError::Fenced { last: other.last }));
    let theirs = [batch(b"mine"), batch(b"theirs"), batch(b"not yet")];
    let placed = resolve(&log, &theirs, hand.last).await.unwrap();
    assert_eq!(placed.iter().map(|at| at.number).collect::<Vec<_>>(), [other.last - 1, other.last]);
}

/// A caller that has gone away in the middle of an append leaves a log that can be written.
pub(crate) async fn an_append_that_was_dropped_is_resolved(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..2).await;
    for n in 0..5 {
        let bodies = [body(10 + n), body(20 + n)];
        {
            let frames = [batch(&bodies[0]), batch(&bodies[1])];
            let mut append = hand.log.append(&frames, hand.last, Durability::Now);
            // as far as it comes at once, and dropped
            std::future::poll_fn(|context| {
                for _ in 0..=n {
                    if append.as_mut().poll(context).is_ready() {
                        break;
                    }
                }
                std::task::Poll::Ready(())
            })
            .await;
        }
        hand.again(&bodies).await;
        holds(&hand.log, &hand, "once").await;
        holds(&ground.open().await, &hand, "once").await;
    }
}

/// The power fails while frames are written: those that were acknowledged are there, and of the others the first ones, whole.
pub(crate) async fn a_power_cut_in_an_append_leaves_a_prefix(mut ground: impl Ground) {
    for kept in [0, 1, 40, 100, 170, 400, 10_000] {
        let mut hand = Hand::on(ground.open().await).await;
        hand.append(kept as u64..kept as u64 + 3).await;
        let bodies: Vec<_> = (50..54).map(body).collect();
        let frames: Vec<_> = bodies.iter().map(|body| batch(body)).collect();
        hand.log.append(&frames, hand.last, Durability::Later { more: 1 }).await.unwrap();
        ground.crash(kept).await;
        let log = ground.open().await;
        let (seen, told) = (seen(&log).await, &hand.told);
        assert_eq!(&seen[..told.len()], &told[..], "{kept} bytes kept");
        let rest: Vec<_> = seen[told.len()..].iter().map(|(_, body)| body.clone()).collect();
        assert_eq!(rest, bodies[..rest.len()], "{kept} bytes kept");
        let again = Hand::on(log).await;
        assert_eq!(again.told, seen, "a claim makes what was seen durable");
    }
}

/// A flipped bit never gets out, and what is lost with it shows. (What nothing follows may be taken for an append that never ended.)
pub(crate) async fn damage_is_not_read(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..3).await;
    hand.try_append(&[b"to be damaged".to_vec()]).await.unwrap();
    hand.append(4..9).await;
    if !ground.damage(b"to be damaged").await {
        return;
    }
    let log = ground.open().await;
    let mut reader = log.read(1).await.unwrap();
    loop {
        match reader.next().await {
            Ok(Some(frame)) => {
                assert_ne!(&frame.body[2..], b" be damaged", "a flipped bit is not what was written");
            }
            Err(LogError::Damaged(_)) => return,
            Err(other) => panic!("{other}"),
            Ok(None) => break,
        }
    }
    assert!(!ground.names_damage(), "the log ends before a flipped bit");
    assert!(log.last().await.unwrap() < hand.last, "frames are lost and nobody can tell");
}
