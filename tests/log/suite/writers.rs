//! One writer: whoever is not the last one to have claimed a log cannot change it.
use super::{Ground, Hand, batch, body, everything, holds, said};
use tailhook::store::log::port::{Durability, Log, LogError};

fn is_fenced(result: &Result<impl std::fmt::Debug, LogError>, last: u64) -> bool {
    matches!(result, Err(LogError::Fenced { last: of }) if *of == last)
}

/// The number is the fence: a batch that was made for another state of the log must not get in.
pub(crate) async fn another_number_than_the_last_is_fenced(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    hand.append(0..5).await;
    let before = everything(&hand.log).await;
    for expected in [0, hand.last - 1, hand.last + 1, u64::MAX] {
        for durability in [Durability::Now, Durability::Later { more: 100 }] {
            hand.log.claim().await.unwrap();
            let refused = hand.log.append(&[batch(b"wrong")], expected, durability).await;
            assert!(is_fenced(&refused, hand.last), "behind {expected}: {refused:?}");
        }
    }
    assert_eq!(everything(&ground.open().await).await, before, "nothing is changed");
    hand.log.claim().await.unwrap();
    hand.append(5..7).await;
    holds(&hand.log, &hand, "the right number goes on").await;
}

/// A process that was frozen while another took over still believes that it is the writer.
pub(crate) async fn a_former_writer_is_fenced(ground: impl Ground) {
    let mut former = Hand::on(ground.open().await).await;
    former.append(0..4).await;
    let mut other = Hand::on(ground.open().await).await;
    other.append(4..6).await;
    for _ in 0..2 {
        let late = former.try_append(&[b"late".to_vec()]).await;
        assert!(is_fenced(&late, other.last), "a late append: {late:?}");
    }
    holds(&ground.open().await, &other, "a late append changes nothing").await;
    other.append(6..9).await;
    holds(&other.log, &other, "the other one goes on").await;
    assert_eq!(former.log.last().await, Ok(other.last), "the former one can look");
}

/// Being fenced is no fate: what the other one wrote is read, then written on.
pub(crate) async fn a_former_writer_that_claims_goes_on(ground: impl Ground) {
    let mut former = Hand::on(ground.open().await).await;
    former.append(0..4).await;
    let mut other = Hand::on(ground.open().await).await;
    other.append(4..6).await;
    assert!(former.try_append(&[b"late".to_vec()]).await.is_err());
    let mut former = Hand::on(former.log).await;
    assert_eq!(former.told, other.told);
    former.append(6..8).await;
    let late = other.try_append(&[b"late".to_vec()]).await;
    assert!(is_fenced(&late, former.last), "{late:?}");
    holds(&ground.open().await, &former, "the last one to claim").await;
}

/// Several may claim before one writes: the first frame decides.
pub(crate) async fn the_last_of_many_claims_writes(ground: impl Ground) {
    let mut hands = Vec::new();
    for _ in 0..4 {
        hands.push(Hand::on(ground.open().await).await);
    }
    let mut last = hands.pop().unwrap();
    last.append(0..2).await;
    for mut former in hands {
        let late = former.try_append(&[b"late".to_vec()]).await;
        assert!(is_fenced(&late, last.last), "{late:?}");
    }
    holds(&ground.open().await, &last, "one writer's frames").await;
}

/// Numbers go on from writer to writer, whatever a log does at its beginning.
pub(crate) async fn many_turns_of_two_writers_lose_nothing(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for turn in 0..12 {
        hand.append(5 * turn..5 * turn + 5).await;
        let next = Hand::on(ground.open().await).await;
        assert_eq!(next.told, hand.told, "turn {turn}");
        assert_eq!(next.last, hand.last);
        hand = next;
    }
    assert_eq!(said(&everything(&hand.log).await).len(), 60);
}

/// A standby that starts and stops must leave the writer alone.
pub(crate) async fn a_claim_of_one_that_stops_changes_nothing(ground: impl Ground) {
    let mut hand = Hand::on(ground.open().await).await;
    for n in 0..6 {
        hand.append(2 * n..2 * n + 2).await;
        let reader = ground.open().await;
        assert_eq!(said(&everything(&reader).await), hand.told);
        assert_eq!(reader.last().await, Ok(hand.last));
    }
    hand.try_append(&[body(99)]).await.unwrap();
    holds(&hand.log, &hand, "readers do not fence").await;
}
