//! A simulated index, late as a real one is: what it took lies in memory until it says that it is durable, and a death takes the rest. Its disk refuses it
//! now and then. Knows no keys.
use crate::plan::Kind;
use crate::rng::Rng;
use crate::world::World;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::store::index::{Pair, Reset, Write};
use tailhook::store::{Index, IndexError, IndexFactory, MemoryIndex};

/// Clones share one.
#[derive(Debug, Clone)]
pub(crate) struct SimIndex {
    taken: MemoryIndex,
    durable: MemoryIndex,
    /// Taken since `durable` was made equal.
    unsettled: Arc<Mutex<Vec<Write>>>,
    world: Arc<World>,
    rng: Arc<Rng>,
}

impl SimIndex {
    /// Everything in `content` is durable.
    pub(crate) fn of(world: &Arc<World>, content: MemoryIndex) -> Self {
        let durable = content.fork();
        Self {
            taken: content,
            durable,
            unsettled: Arc::default(),
            world: world.clone(),
            rng: Arc::new(world.rng.fork()),
        }
    }
    /// Hands out this very index; `MoveAside` empties it.
    pub(crate) fn factory(&self) -> IndexFactory {
        let index = self.clone();
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                index.taken.clear();
                index.durable.clear();
                index.unsettled.lock().unwrap().clear();
            }
            Ok(Arc::new(index.clone()))
        })
    }
    /// What is there after a death.
    pub(crate) fn survives(&self) -> MemoryIndex {
        self.durable.fork()
    }
}

impl Index for SimIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.taken.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.taken.scan(from, to, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.taken.scan_back(from, to, limit)
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        self.unsettled.lock().unwrap().extend_from_slice(&writes);
        self.taken.apply(writes)
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        if !now && !self.rng.permille(300) {
            return Ok(false);
        }
        if self.world.strikes(Kind::Disk, &self.rng, 20) {
            return Err(IndexError::Disk("simulated: flush of the index".to_owned()));
        }
        self.durable.apply(std::mem::take(&mut *self.unsettled.lock().unwrap()))?;
        Ok(true)
    }
    fn size(&self) -> u64 {
        self.taken.size()
    }
    /// A read or a write takes its time; now and then the disk under it stalls.
    fn delay(&self) -> Duration {
        let at_most = match () {
            () if self.world.strikes(Kind::Disk, &self.rng, 3) => 20_000,
            () if self.world.strikes(Kind::Disk, &self.rng, 30) => 500,
            () if self.world.strikes(Kind::Disk, &self.rng, 300) => 20,
            () => return Duration::ZERO,
        };
        Duration::from_millis(self.rng.below(at_most))
    }
}
