//! A simulated index, late as a real one is: what it took lies in memory until it says that it is durable, and a death takes of the rest the last
//! generations, however many, each of them whole. Its disk refuses it now and then. Knows no keys.
use crate::plan::Kind;
use crate::rng::Rng;
use crate::world::World;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::fault;
use tailhook::store::index::{Generation, Pair, Reset, Write};
use tailhook::store::{Index, IndexError, IndexFactory, MemoryIndex};

/// Clones share one.
#[derive(Debug, Clone)]
pub(crate) struct SimIndex {
    taken: MemoryIndex,
    durable: MemoryIndex,
    /// The generations that were taken since `durable` was made equal.
    unsettled: Arc<Mutex<Vec<Vec<Write>>>>,
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
        let left = self.durable.fork();
        let unsettled = self.unsettled.lock().unwrap();
        let whole = self.rng.below(unsettled.len() as u64 + 1) as usize;
        for generation in &unsettled[..whole] {
            left.take(&mut generation.iter().cloned()).unwrap();
        }
        if fault::planted("half-a-generation")
            && let Some(generation) = unsettled.get(whole)
        {
            left.take(&mut generation.iter().take(generation.len() / 2).cloned()).unwrap();
        }
        left
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
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        let generation: Vec<Write> = generation.collect();
        self.taken.take(&mut generation.iter().cloned())?;
        self.unsettled.lock().unwrap().push(generation);
        Ok(())
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        if !now && !self.rng.permille(300) {
            return Ok(false);
        }
        if self.world.strikes(Kind::Disk, &self.rng, 20) {
            return Err(IndexError::Disk("simulated: flush of the index".to_owned()));
        }
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap());
        self.durable.take(&mut unsettled.into_iter().flatten())?;
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
