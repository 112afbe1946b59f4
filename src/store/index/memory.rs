//! The index in memory, for the simulation. Knows nothing of what it holds.
use crate::store::index::{Generation, Index, IndexError, IndexFactory, Pair, Reset};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Clones share one map, so a simulated restart can keep it, and a test can look or damage.
#[derive(Debug, Clone, Default)]
pub struct MemoryIndex {
    map: Arc<Mutex<Map>>,
}

impl MemoryIndex {
    /// Hands out this very index; `MoveAside` empties it.
    pub fn factory(&self) -> IndexFactory {
        let index = self.clone();
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                index.clear();
            }
            Ok(Arc::new(index.clone()))
        })
    }
    /// Forgets everything.
    pub fn clear(&self) {
        self.lock().clear();
    }
    /// An independent copy: what the index was at this moment.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { map: Arc::new(Mutex::new(self.lock().clone())) }
    }
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.lock().get(key).cloned())
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let map = self.lock();
        Ok(map
            .range(from.to_vec()..to.to_vec())
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let map = self.lock();
        Ok(map
            .range(from.to_vec()..to.to_vec())
            .rev()
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        let mut map = self.lock();
        for (key, value) in generation {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }
    fn flush(&self, _now: bool) -> Result<bool, IndexError> {
        Ok(true)
    }
    fn size(&self) -> u64 {
        self.lock().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
