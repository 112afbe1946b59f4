//! The simulated replicated log of `tests/sim`, alone and as the owner's half of a joined log.
use crate::stream::{Fate, Straight, Stream, StreamLog, Way};
use crate::suite::Ground;
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::store::log::joined::JoinedLog;
use tailhook::store::log::port::{Durability, Log, LogError, resolve};

/// What becomes of the next appends.
#[derive(Debug, Default)]
struct Switch(Mutex<(bool, bool)>);

impl Way for Switch {
    fn append(&self) -> Fate {
        let (refuse, lose) = *self.0.lock().unwrap();
        self.0.lock().unwrap().1 = false;
        match (refuse, lose) {
            (true, _) => Fate::Refused,
            (_, true) => Fate::Unanswered(2),
            _ => Fate::Fine(Duration::from_micros(20)),
        }
    }
    fn is_cut(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Replicated {
    stream: Stream,
    way: Arc<Switch>,
}

#[async_trait]
impl Ground for Replicated {
    type Log = StreamLog;
    async fn fresh() -> Self {
        tokio::time::pause();
        Self::default()
    }
    async fn open(&self) -> StreamLog {
        StreamLog::new(&self.stream, self.way.clone())
    }
    async fn crash(&mut self, _: usize) {}
    async fn refuse(&self, refuse: bool, taken: usize) -> bool {
        self.way.0.lock().unwrap().0 = refuse && taken == 0;
        taken == 0
    }
    async fn lose_answer(&self, _: &StreamLog) -> bool {
        self.way.0.lock().unwrap().1 = true;
        true
    }
    async fn damage(&self, text: &[u8]) -> bool {
        self.stream.damage(text)
    }
    fn names_damage(&self) -> bool {
        false
    }
}

/// The other log has frames already, and nobody has marked them.
struct Joined(Replicated, Stream);

#[async_trait]
impl Ground for Joined {
    type Log = JoinedLog;
    async fn fresh() -> Self {
        Self(Replicated::fresh().await, Stream::default())
    }
    async fn open(&self) -> JoinedLog {
        JoinedLog::new(Arc::new(StreamLog::new(&self.1, Arc::new(Straight))), Arc::new(self.0.open().await))
    }
    async fn crash(&mut self, kept: usize) {
        self.0.crash(kept).await;
    }
    async fn refuse(&self, refuse: bool, taken: usize) -> bool {
        self.0.refuse(refuse, taken).await
    }
    async fn lose_answer(&self, _: &JoinedLog) -> bool {
        self.0.way.0.lock().unwrap().1 = true;
        true
    }
    async fn damage(&self, text: &[u8]) -> bool {
        self.0.damage(text).await
    }
    fn names_damage(&self) -> bool {
        false
    }
}

crate::suite::hold!(replicated, Replicated);
crate::suite::hold!(joined, Joined);

/// Adds to the feed, as capture does.
async fn feed(stream: &Stream, bodies: &[&[u8]]) {
    let log = StreamLog::new(stream, Arc::new(Straight));
    for body in bodies {
        let last = stream.last();
        log.append(&[crate::suite::batch(body)], last, Durability::Now).await.unwrap();
    }
}

fn texts(frames: &[tailhook::store::log::port::StoredFrame]) -> Vec<(u64, String)> {
    frames.iter().map(|f| (f.at.number, String::from_utf8_lossy(&f.body).into_owned())).collect()
}

/// What the owner has seen live is what is read later, frame by frame and number by number, wherever reading begins.
#[tokio::test]
async fn two_logs_have_one_order() {
    let (ground, mut seen) = (Joined::fresh().await, Vec::new());
    let log = ground.open().await;
    let mut last = log.claim().await.unwrap().last;
    for round in 0..12_u64 {
        if round % 3 != 1 {
            let texts: Vec<_> = (0..round % 4).map(|n| format!("feed {round}.{n}")).collect();
            feed(&ground.1, &texts.iter().map(String::as_bytes).collect::<Vec<_>>()).await;
        }
        if round % 4 != 2
            && let Ok(frames) = tokio::time::timeout(Duration::from_secs(1), log.arrived()).await
        {
            let frames = frames.unwrap();
            last = frames.last().unwrap().at.number;
            seen.extend(texts(&frames));
        }
        if round == 7 {
            // a part that is given up keeps its number: what arrives next has a later one
            let part = tailhook::store::log::port::NewFrame {
                kind: tailhook::store::log::frame::Kind::Part,
                body: &[0, 0, 0, 0, b'p'],
            };
            log.append(&[part], last, Durability::Later { more: 9 }).await.unwrap();
            ground.0.refuse(true, 0).await;
            assert!(log.append(&[crate::suite::batch(b"no")], last + 1, Durability::Now).await.is_err());
            ground.0.refuse(false, 0).await;
            feed(&ground.1, &[b"meanwhile"]).await;
            let arrived = tokio::time::timeout(Duration::from_secs(9), log.arrived()).await;
            assert!(arrived.is_err(), "it is not known yet where that stands");
        }
        let body = format!("own {round}").into_bytes();
        let appended = log.append(&[crate::suite::batch(&body)], last, Durability::Now).await.unwrap().frames;
        last = appended[0].number;
        seen.push((last, format!("own {round}")));
    }
    assert_eq!(log.last().await, Ok(last));
    for handle in [&log, &ground.open().await] {
        for from in 1..=last + 1 {
            let mut reader = handle.read(from).await.unwrap();
            let mut read = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                let fetched = handle.fetch(frame.at.place, frame.body.len()).await.unwrap();
                assert_eq!(fetched.as_ref(), Some(&frame.body), "a place leads to its body");
                read.push(frame);
            }
            let read: Vec<_> = texts(&read).into_iter().filter(|(_, text)| !text.ends_with('p')).collect();
            let expected: Vec<_> = seen.iter().filter(|(number, _)| *number >= from).cloned().collect();
            assert_eq!(read, expected, "from {from}");
        }
    }
    let again = ground.open().await;
    assert_eq!(again.claim().await.unwrap().last, last);
    feed(&ground.1, &[b"later"]).await;
    let arrived = again.arrived().await.unwrap();
    assert_eq!(arrived.last().unwrap().at.number, last + arrived.len() as u64);
}

/// Two owners' first frames say the same, that nothing was done yet, and stand at the same place: each must find its own.
#[tokio::test]
async fn a_frame_of_another_owner_is_not_taken_for_ones_own() {
    let ground = Joined::fresh().await;
    let (one, two) = (ground.open().await, ground.open().await);
    let frames = [crate::suite::batch(b"the same")];
    let last = one.claim().await.unwrap().last;
    let first = one.append(&frames, last, Durability::Now).await.unwrap().frames[0].number;
    // the second begins behind that, and writes what the first one would
    assert_eq!(two.claim().await.unwrap().last, first);
    two.append(&frames, first, Durability::Now).await.unwrap();
    let fenced = resolve(&one, &frames, first).await;
    assert!(matches!(fenced, Err(LogError::Fenced { .. })), "{fenced:?}");
    assert_eq!(resolve(&two, &frames, first).await.map(|there| there.len()), Ok(1));
}
