//! Trimming: what nobody needs goes, what anybody needs stays.
use super::{Ground, Hand, everything, frames, said};
use tailhook::store::log::port::{Log, LogError, Placed};

/// Forty frames; their places.
async fn filled<G: Ground>(ground: &G) -> (Hand<G::Log>, Vec<Placed>) {
    let mut hand = Hand::on(ground.open().await).await;
    let mut placed = Vec::new();
    for n in 0..20 {
        placed.extend(hand.append(2 * n..2 * n + 2).await);
    }
    (hand, placed)
}

/// Whether a frame is needed is decided above, and the log must not know better.
pub(crate) async fn what_is_not_trimmed_stays(ground: impl Ground) {
    let (mut hand, _) = filled(&ground).await;
    let mut below = 0;
    for to in [0, 1, 2, 7, 8, 20, 19, 33] {
        hand.log.trim(to).await.unwrap();
        below = to.max(below);
        for log in [&hand.log, &ground.open().await] {
            let there = said(&everything(log).await);
            let needed: Vec<_> = hand.told.iter().filter(|(number, _)| *number >= below).cloned().collect();
            assert!(there.ends_with(&needed), "a frame that is needed was trimmed, below {below}");
            assert!(hand.told.ends_with(&there));
            assert_eq!(log.last().await, Ok(hand.last));
        }
    }
    let from = hand.told.len() as u64;
    hand.append(from..from + 3).await;
    assert!(hand.told.ends_with(&said(&everything(&hand.log).await)), "it is written on");
}

/// Numbers are never given twice: an index that has applied frame 40 waits for frame 41.
pub(crate) async fn trimming_everything_keeps_the_last_number(mut ground: impl Ground) {
    let (mut hand, _) = filled(&ground).await;
    for n in 0..4 {
        hand.log.trim(hand.last + 1).await.unwrap();
        assert_eq!(hand.log.last().await, Ok(hand.last));
        ground.crash(0).await;
        let log = ground.open().await;
        assert_eq!(log.last().await, Ok(hand.last));
        let claim = log.claim().await.unwrap();
        assert_eq!(claim.last, hand.last);
        hand = Hand { log, last: claim.last, told: Vec::new() };
        hand.append(n..n + 1).await;
        assert!(said(&everything(&hand.log).await).ends_with(&hand.told));
    }
}

/// A reader that is too far behind must be told, not led past what it has missed.
pub(crate) async fn what_was_trimmed_is_neither_read_nor_fetched(ground: impl Ground) {
    let (hand, placed) = filled(&ground).await;
    hand.log.trim(hand.last - 3).await.unwrap();
    for log in [&hand.log, &ground.open().await] {
        let first = log.chunks().await.unwrap()[0].first;
        for at in &placed {
            let fetched = log.fetch(at.place, 4).await.unwrap();
            if at.number < first {
                assert_eq!(fetched, None, "{at:?} is before frame {first}");
                let error = log.read(at.number).await.err();
                assert_eq!(error, Some(LogError::Trimmed { first }), "frame {}", at.number);
            } else {
                assert_eq!(fetched.as_deref(), Some(&b"body"[..]));
                frames(log, at.number).await;
            }
        }
    }
}

/// Trimming is repeated after a restart, over what is already gone.
pub(crate) async fn trimming_goes_on_after_a_crash(mut ground: impl Ground) {
    let (mut hand, _) = filled(&ground).await;
    for below in (5..hand.last - 4).step_by(6) {
        hand.log.trim(below).await.unwrap();
        ground.crash(0).await;
        let log = ground.open().await;
        let claim = log.claim().await.unwrap();
        hand = Hand { log, last: claim.last, told: hand.told };
        hand.log.trim(below - 4).await.unwrap();
        let there = said(&everything(&hand.log).await);
        let needed: Vec<_> = hand.told.iter().filter(|(number, _)| *number >= below).cloned().collect();
        assert!(hand.told.ends_with(&there) && there.ends_with(&needed), "below {below}: {there:?}");
    }
}

/// Retention asks the places of what is alive how far it may trim.
pub(crate) async fn places_tell_what_may_be_trimmed(ground: impl Ground) {
    let (hand, placed) = filled(&ground).await;
    assert!(placed.windows(2).all(|two| two[0].place.home <= two[1].place.home), "homes ascend: {placed:?}");
    let chunks = hand.log.chunks().await.unwrap();
    assert!(chunks.windows(2).all(|two| two[0].first < two[1].first), "{chunks:?}");
    assert!(chunks.iter().map(|chunk| chunk.bytes).sum::<u64>() > 40 * 12, "bytes are counted: {chunks:?}");
    for (at, (_, body)) in placed.iter().zip(&hand.told) {
        hand.log.trim(at.place.home).await.unwrap();
        let fetched = hand.log.fetch(at.place, body.len()).await.unwrap();
        assert_eq!(fetched.as_deref(), Some(&body[..]), "{at:?} after a trim below its home");
    }
}
