//! A simulated replicated log: one stream that several processes reach over a network of their own. An append may be refused, its answer
//! lost, and it may arrive long after its writer has given up. Must not: depend on what frames say.
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::store::log::port::{
    self, Appended, Chunk, Claim, Durability, FrameNo, Log, LogError, LogReader, NewFrame, PORTABLE, Place,
    Placed, StoredFrame,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answered after this long.
    Fine(Duration),
    /// Nothing of it is taken, and the writer is told so.
    Refused,
    /// So many of its frames arrive, the rest never do, and no answer comes.
    Unanswered(usize),
    /// It arrives so much later, when its writer has given up waiting.
    Late(Duration),
}

/// A process's way to the stream.
pub(crate) trait Way: Send + Sync + Debug + 'static {
    fn append(&self) -> Fate;
    /// Nothing can be asked now.
    fn is_cut(&self) -> bool;
}

/// Nothing goes wrong.
#[derive(Debug)]
pub(crate) struct Straight;

impl Way for Straight {
    fn append(&self) -> Fate {
        Fate::Fine(Duration::ZERO)
    }
    fn is_cut(&self) -> bool {
        false
    }
}

/// How long a writer waits for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The stream itself; clones share it. What it has taken is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    frames: Mutex<BTreeMap<FrameNo, StoredFrame>>,
    last: AtomicU64,
    /// Unlike those of a watch, its waiters are woken in the order in which they came.
    grown: Notify,
    /// Appends on their way that nobody waits for.
    late: Mutex<JoinSet<()>>,
}

impl Stream {
    pub(crate) fn last(&self) -> FrameNo {
        self.0.last.load(Ordering::SeqCst)
    }
    /// One message, if the last frame is the expected one.
    fn take(&self, frame: &NewFrame<'_>, expected: FrameNo) -> Result<Placed, LogError> {
        let mut frames = self.0.frames.lock().unwrap();
        let last = self.last();
        if last != expected {
            return Err(LogError::Fenced { last });
        }
        let number = last + 1;
        let kind = format!("{:?}", frame.kind);
        let crc = [&number.to_le_bytes()[..], kind.as_bytes(), frame.body]
            .iter()
            .fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let at = Placed { number, crc, place: Place { home: number, offset: 0 } };
        let body = Bytes::copy_from_slice(frame.body);
        frames.insert(number, StoredFrame { at, kind: frame.kind, body });
        drop(frames);
        self.0.last.store(number, Ordering::SeqCst);
        self.0.grown.notify_waiters();
        Ok(at)
    }
    /// Frame by frame; the rest is not taken where one is not.
    fn take_all(&self, frames: &[NewFrame<'_>], mut expected: FrameNo) -> Result<Vec<Placed>, LogError> {
        let mut placed = Vec::new();
        for frame in frames {
            let at = self.take(frame, expected)?;
            expected = at.number;
            placed.push(at);
        }
        Ok(placed)
    }
    /// Changes a byte of this text where it lies.
    #[allow(dead_code, reason = "only tests/log damages one")]
    pub(crate) fn damage(&self, text: &[u8]) -> bool {
        let mut frames = self.0.frames.lock().unwrap();
        let numbers: Vec<FrameNo> = frames.keys().copied().collect();
        for number in numbers {
            let body = frames[&number].body.to_vec();
            if body.windows(text.len()).any(|found| found == text) {
                // such a server comes back with what was before
                frames.split_off(&number);
                self.0.last.store(number - 1, Ordering::SeqCst);
                return true;
            }
        }
        false
    }
}

/// A process's handle on the stream.
#[derive(Debug)]
pub(crate) struct StreamLog {
    stream: Stream,
    way: Arc<dyn Way>,
    writer: Mutex<Option<StreamWriter>>,
}

#[derive(Debug, Clone, Copy)]
struct StreamWriter {
    /// The last durable frame that the caller has heard of.
    said: FrameNo,
    /// The last frame, parts that were given up among them.
    last: FrameNo,
}

impl StreamLog {
    pub(crate) fn new(stream: &Stream, way: Arc<dyn Way>) -> Self {
        Self { stream: stream.clone(), way, writer: Mutex::new(None) }
    }
    fn reachable(&self) -> Result<(), LogError> {
        if self.way.is_cut() { Err(LogError::Unreadable("simulated: cut off".to_owned())) } else { Ok(()) }
    }
    fn writes(&self, writer: Option<StreamWriter>) {
        *self.writer.lock().unwrap() = writer;
    }
}

#[async_trait]
impl Log for StreamLog {
    async fn claim(&self) -> Result<Claim, LogError> {
        self.reachable()?;
        let last = self.stream.last();
        self.writes(Some(StreamWriter { said: last, last }));
        Ok(Claim { last, cut: 0 })
    }

    async fn append(
        &self,
        frames: &[NewFrame<'_>],
        expected: FrameNo,
        durability: Durability,
    ) -> Result<Appended, LogError> {
        port::check(frames, durability, self.largest())?;
        if self.writer.lock().unwrap().is_none() {
            self.claim().await?;
        }
        let Some(writer) = *self.writer.lock().unwrap() else {
            return Err(LogError::Refused("it is not claimed".to_owned()));
        };
        let behind = if expected == writer.said { writer.last } else { expected };
        let unanswered = || LogError::Unclear("simulated: no answer".to_owned());
        let placed = match self.way.append() {
            // what was given for later is there, and may count
            Fate::Refused if writer.last != writer.said => return Err(unanswered()),
            Fate::Refused => return Err(LogError::Refused("simulated: no quorum".to_owned())),
            Fate::Fine(after) => {
                sleep(after / 2).await;
                let placed = self.stream.take_all(frames, behind);
                sleep(after / 2).await;
                placed
            }
            Fate::Unanswered(taken) => {
                let _ = self.stream.take_all(&frames[..taken.min(frames.len())], behind);
                sleep(ANSWER).await;
                return Err(unanswered());
            }
            Fate::Late(after) => {
                let (stream, kept): (_, Vec<_>) = (
                    self.stream.clone(),
                    frames.iter().map(|frame| (frame.kind, frame.body.to_vec())).collect(),
                );
                self.stream.0.late.lock().unwrap().spawn(async move {
                    sleep(after).await;
                    let frames: Vec<_> =
                        kept.iter().map(|(kind, body)| NewFrame { kind: *kind, body }).collect();
                    let unfenced = tailhook::fault::planted("late-append-taken");
                    let _ = stream.take_all(&frames, if unfenced { stream.last() } else { behind });
                });
                sleep(ANSWER).await;
                return Err(unanswered());
            }
        };
        let placed = match placed {
            Ok(placed) => placed,
            Err(fenced) => {
                self.writes(None);
                return Err(fenced);
            }
        };
        let last = placed.last().map_or(behind, |at| at.number);
        let said = if durability == Durability::Now { last } else { writer.said };
        self.writes(Some(StreamWriter { said, last }));
        Ok(Appended { frames: placed, synced: Duration::ZERO })
    }

    async fn read<'a>(&'a self, from: FrameNo) -> Result<Box<dyn LogReader + 'a>, LogError> {
        self.reachable()?;
        let first = self.stream.0.frames.lock().unwrap().keys().next().copied();
        match first {
            Some(first) if from < first => Err(LogError::Trimmed { first }),
            _ => Ok(Box::new(StreamReader { log: self, next: from.max(1) })),
        }
    }

    async fn fetch(&self, place: Place, len: usize) -> Result<Option<Bytes>, LogError> {
        self.reachable()?;
        let frames = self.stream.0.frames.lock().unwrap();
        let from = place.offset as usize;
        Ok(frames.get(&place.home).and_then(|frame| {
            let within = from + len <= frame.body.len();
            within.then(|| frame.body.slice(from..from + len))
        }))
    }

    async fn trim(&self, below: FrameNo) -> Result<(), LogError> {
        let last = self.stream.last();
        self.stream.0.frames.lock().unwrap().retain(|number, _| *number >= below || *number == last);
        Ok(())
    }

    async fn last(&self) -> Result<FrameNo, LogError> {
        self.reachable()?;
        Ok(self.stream.last())
    }

    async fn chunks(&self) -> Result<Vec<Chunk>, LogError> {
        self.reachable()?;
        let frames = self.stream.0.frames.lock().unwrap();
        Ok(frames.iter().map(|(first, f)| Chunk { first: *first, bytes: f.body.len() as u64 + 12 }).collect())
    }

    async fn grown(&self, beyond: FrameNo) -> Result<(), LogError> {
        loop {
            let grown = self.stream.0.grown.notified();
            if self.stream.last() > beyond {
                break;
            }
            grown.await;
        }
        while self.way.is_cut() {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn describe(&self, place: Place) -> String {
        format!("message {}, byte {}", place.home, place.offset)
    }

    fn largest(&self) -> usize {
        PORTABLE + 1024
    }
}

/// Reads the stream.
#[derive(Clone)]
struct StreamReader<'a> {
    log: &'a StreamLog,
    next: FrameNo,
}

#[async_trait]
impl LogReader for StreamReader<'_> {
    async fn next(&mut self) -> Result<Option<StoredFrame>, LogError> {
        self.log.reachable()?;
        let found = self.log.stream.0.frames.lock().unwrap().get(&self.next).cloned();
        self.next += u64::from(found.is_some());
        Ok(found)
    }
    fn fork(&self) -> Box<dyn LogReader + '_> {
        Box::new(self.clone())
    }
}
