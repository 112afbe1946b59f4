//! The log of segments: on a disk in memory with short segments and with long ones, and in a real folder.
use crate::disk::{CrashDisk, Faults};
use crate::suite::Ground;
use async_trait::async_trait;
use std::sync::Arc;
use tailhook::disk::{Disk, RealDisk};
use tailhook::store::log::segments::SegmentLog;
use tempfile::TempDir;

/// A disk in memory, segments of about this many bytes.
struct Memory<const SEGMENT: u64>(CrashDisk);

#[async_trait]
impl<const SEGMENT: u64> Ground for Memory<SEGMENT> {
    type Log = SegmentLog;
    async fn fresh() -> Self {
        Self(CrashDisk::default())
    }
    async fn open(&self) -> SegmentLog {
        SegmentLog::new(Arc::new(self.0.clone()), SEGMENT, 1)
    }
    async fn crash(&mut self, kept: usize) {
        self.0 = self.0.crash(kept);
    }
    async fn refuse(&self, refuse: bool, taken: usize) -> bool {
        let full = refuse && taken == 0;
        self.0.faults(Faults { append: refuse.then_some(taken), full, ..Faults::default() });
        true
    }
    /// The bytes are taken, the sync fails: nobody can tell what is durable.
    async fn lose_answer(&self, _: &SegmentLog) -> bool {
        self.0.faults(Faults { sync: true, ..Faults::default() });
        true
    }
    async fn damage(&self, text: &[u8]) -> bool {
        for name in self.0.names("journal-") {
            let at = self.0.bytes(&name).windows(text.len()).position(|found| found == text);
            if let Some(at) = at {
                self.0.edit(&name, |bytes| bytes[at] ^= 1);
                return true;
            }
        }
        false
    }
}

/// A real folder. It is locked, so all handles share it; nothing of it is lost in a crash.
struct Folder {
    disk: Arc<dyn Disk>,
    _home: TempDir,
}

#[async_trait]
impl Ground for Folder {
    type Log = SegmentLog;
    async fn fresh() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { disk: Arc::new(RealDisk::open(home.path()).unwrap()), _home: home }
    }
    async fn open(&self) -> SegmentLog {
        SegmentLog::new(self.disk.clone(), 2000, 1)
    }
    async fn crash(&mut self, _: usize) {}
    async fn refuse(&self, _: bool, _: usize) -> bool {
        false
    }
    async fn lose_answer(&self, _: &SegmentLog) -> bool {
        false
    }
    async fn damage(&self, _: &[u8]) -> bool {
        false
    }
}

type Short = Memory<600>;
type Long = Memory<{ 64 << 20 }>;

crate::suite::hold!(short, Short);
crate::suite::hold!(long, Long);
crate::suite::hold!(folder, Folder);
