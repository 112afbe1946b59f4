//! Purpose: a log read group by group: a frame comes out when the seal of its group is known to be there. Must not: depend on what a log
//! is made of, or hold a group in memory.
//!
//! Parts without a seal are what an append left that never ended. A log that can cut them off does so; in any other they stay, and the
//! next group follows. They are passed over here, so nobody above has to know.
use crate::fault;
use crate::store::log::frame::Kind;
use crate::store::log::group::{Group, GroupStep};
use crate::store::log::port::{FrameNo, LogError, LogReader, StoredFrame};

/// Reads whole groups.
pub struct WholeGroups<'a> {
    reader: Box<dyn LogReader + 'a>,
    /// The seal of the group that is being read.
    sealed: FrameNo,
    /// The first part of a group that has no seal yet.
    held: Option<StoredFrame>,
}

impl std::fmt::Debug for WholeGroups<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeGroups").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// What stands behind a group's first part.
enum Ahead {
    /// Its seal has this number.
    Sealed(FrameNo),
    /// The log ends.
    Ends,
    /// Another group, which begins with this frame: the seal will never come.
    Abandoned(FrameNo),
}

impl<'a> WholeGroups<'a> {
    /// Reads from where the reader is, which must not be inside of a group.
    pub fn new(reader: Box<dyn LogReader + 'a>) -> Self {
        Self { reader, sealed: 0, held: None }
    }

    /// The next frame of a whole group. `None`: no other is whole; what is written later may follow.
    pub async fn next(&mut self) -> Result<Option<StoredFrame>, LogError> {
        loop {
            let held = self.held.take();
            let next = if held.is_some() { held } else { self.reader.next().await? };
            let Some(frame) = next else { return Ok(None) };
            let alone = matches!(frame.kind, Kind::Batch | Kind::Header);
            if alone || frame.at.number <= self.sealed || fault::planted("group-not-awaited") {
                return Ok(Some(frame));
            }
            match self.ahead(&frame).await? {
                Ahead::Sealed(seal) => {
                    self.sealed = seal;
                    return Ok(Some(frame));
                }
                Ahead::Ends => {
                    self.held = Some(frame);
                    return Ok(None);
                }
                Ahead::Abandoned(next) => {
                    for _ in frame.at.number + 1..next {
                        self.reader.next().await?;
                    }
                }
            }
        }
    }

    /// Nothing of a group may be seen before it is sure to be whole, and it need not fit the memory: it is read twice.
    async fn ahead(&self, first: &StoredFrame) -> Result<Ahead, LogError> {
        let mut group = Group::default();
        if step(&mut group, first) != GroupStep::Begins {
            return Err(not_whole(first));
        }
        let mut reader = self.reader.fork();
        while let Some(frame) = reader.next().await? {
            match step(&mut group, &frame) {
                GroupStep::Seals => return Ok(Ahead::Sealed(frame.at.number)),
                GroupStep::GoesOn => {}
                // whoever gave up before the seal began anew; a seal or a part of something else proves that a frame is missing
                _ if matches!(step(&mut Group::default(), &frame), GroupStep::Alone | GroupStep::Begins) => {
                    return Ok(Ahead::Abandoned(frame.at.number));
                }
                _ => return Err(not_whole(&frame)),
            }
        }
        Ok(Ahead::Ends)
    }
}

fn step(group: &mut Group, frame: &StoredFrame) -> GroupStep {
    group.follow(frame.kind, frame.at.crc, &frame.body)
}

fn not_whole(frame: &StoredFrame) -> LogError {
    LogError::Damaged(format!("frame {}: a group is not whole", frame.at.number))
}
