//! An instance's way to the replicated log, and what befalls it. Must not: depend on what goes over it.
use crate::plan::Kind;
use crate::rng::Rng;
use crate::stream::{Fate, Way};
use crate::world::World;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An instance's way to the log.
#[derive(Debug)]
pub(crate) struct Link {
    world: Arc<World>,
    rng: Rng,
    /// Reachable and not, in turns: until when.
    turns: Mutex<(bool, u64)>,
}

impl Link {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), rng: world.rng.fork(), turns: Mutex::default() })
    }
}

impl Way for Link {
    fn append(&self) -> Fate {
        if self.is_cut() {
            return Fate::Unanswered(0);
        }
        let strikes = |permille| self.world.strikes(Kind::Log, &self.rng, permille);
        match () {
            () if strikes(8) => Fate::Refused,
            () if strikes(8) => Fate::Unanswered(self.rng.below(4) as usize),
            () if strikes(8) => Fate::Late(Duration::from_millis(self.rng.below(15_000))),
            () => Fate::Fine(Duration::from_micros(self.rng.below(6_000))),
        }
    }
    fn is_cut(&self) -> bool {
        if !self.world.faulty(Kind::Log) {
            return false;
        }
        let mut turns = self.turns.lock().unwrap();
        if turns.1 <= self.world.ms() {
            let cut = !turns.0;
            let lasts = if cut { self.rng.below(12_000) } else { 5_000 + self.rng.below(60_000) };
            *turns = (cut, self.world.ms() + lasts);
        }
        turns.0
    }
}
