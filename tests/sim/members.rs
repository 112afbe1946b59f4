//! A simulated table of who holds what, with times that run out: shards, and capture. An instance renews what it holds; what it no longer
//! renews is somebody else's after a while. Must not: depend on what is held.
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How often an instance renews.
pub(crate) const RENEW: Duration = Duration::from_millis(1_500);
/// It stops by itself so long after it last asked.
const HELD: Duration = Duration::from_secs(3);
/// Others take over so long after it was last heard.
const EXPIRES: Duration = Duration::from_secs(5);

/// What is held: shards by number, and capture.
pub(crate) type Duty = u16;
pub(crate) const CAPTURE: Duty = u16::MAX;

/// The table; what is in it survives every instance.
#[derive(Debug)]
pub(crate) struct Members {
    world: Arc<World>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    alive: BTreeMap<u64, Instant>,
    holders: BTreeMap<Duty, (u64, Instant)>,
}

/// What an instance may do about a duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is its own from now on, until then: others may have had it meanwhile.
    Taken(Instant),
    /// It is still its own, until then.
    Held(Instant),
    /// It is to be handed over.
    Release,
    /// Another's.
    Others,
}

impl Members {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), table: Mutex::default() })
    }

    /// An instance is heard.
    pub(crate) fn hello(&self, instance: u64) {
        let now = Instant::now();
        self.table.lock().unwrap().alive.insert(instance, now + EXPIRES);
    }

    /// Renews, takes, or is told to release. `asked`: when the instance began to ask.
    pub(crate) fn turn(&self, instance: u64, duty: Duty, asked: Instant) -> Turn {
        let now = Instant::now();
        let mut table = self.table.lock().unwrap();
        let wanted = table
            .alive
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(of, _)| *of)
            .max_by_key(|of| crc32c::crc32c(format!("{of} {duty}").as_bytes()));
        let holder = table.holders.get(&duty).filter(|(_, until)| *until > now).map(|(of, _)| *of);
        match holder {
            Some(of) if of != instance => Turn::Others,
            Some(_) if wanted != Some(instance) => Turn::Release,
            None if wanted != Some(instance) => Turn::Others,
            held => {
                table.holders.insert(duty, (instance, now + EXPIRES));
                if held.is_some() {
                    return Turn::Held(asked + HELD);
                }
                self.world.note(|| format!("instance {instance} takes {duty}"));
                Turn::Taken(asked + HELD)
            }
        }
    }

    /// Nothing of it is under way any more.
    pub(crate) fn release(&self, instance: u64, duty: Duty) {
        let mut table = self.table.lock().unwrap();
        if table.holders.get(&duty).is_some_and(|(of, _)| *of == instance) {
            table.holders.remove(&duty);
            self.world.note(|| format!("instance {instance} hands over {duty}"));
        }
    }
}
