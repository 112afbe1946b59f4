//! What one run is: a seed, and for a shrunk one how much of it is left. Written `17`, `17:12` or `17:12:disk+net`; `2x17` is one of two
//! instances. Knows no simulated part.
use std::fmt;
use std::str::FromStr;

/// What can go wrong in a world; a shrunk run does without some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The sidecar dies or is stopped.
    Deaths,
    /// Postgres crashes, shuts down, loses connections.
    Server,
    /// Others drop, advance or lose the slot.
    Slot,
    /// The sidecar's disk: slow, torn, full, failing.
    Disk,
    /// Bits flip.
    Rot,
    /// Receivers and the way to them.
    Net,
    /// The wall clock jumps.
    Clock,
    /// What people do to tables.
    Tables,
    /// Several instances' way to their replicated log.
    Log,
}

pub(crate) const KINDS: [(Kind, &str); 9] = [
    (Kind::Deaths, "deaths"),
    (Kind::Server, "server"),
    (Kind::Slot, "slot"),
    (Kind::Disk, "disk"),
    (Kind::Rot, "rot"),
    (Kind::Net, "net"),
    (Kind::Clock, "clock"),
    (Kind::Tables, "tables"),
    (Kind::Log, "log"),
];

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Sidecars that share the work.
    pub(crate) instances: u64,
    /// Transactions of the history; `None`: as many as the seed says.
    pub(crate) length: Option<usize>,
    /// Kinds of fault that do not happen.
    pub(crate) without: Vec<Kind>,
}

impl Plan {
    pub(crate) fn whole(seed: u64) -> Self {
        Self { seed, instances: 1, length: None, without: Vec::new() }
    }
    /// Of two instances; their disks hold nothing that counts.
    pub(crate) fn shared(seed: u64) -> Self {
        let without = vec![Kind::Slot, Kind::Disk, Kind::Rot, Kind::Tables];
        Self { seed, instances: 2, length: None, without }
    }
    pub(crate) fn has(&self, kind: Kind) -> bool {
        !self.without.contains(&kind)
    }

    /// A smaller run that still fails, by trying: half the history, a quarter less, one less; then each kind of fault left
    /// out. At most some dozens of runs.
    pub(crate) fn shrink(&self, length: usize, fails: impl Fn(&Self) -> bool) -> Self {
        let mut least = self.clone();
        let mut long = length;
        let mut step = length / 2;
        while step > 0 {
            let left = long.saturating_sub(step);
            let shorter = Self { length: Some(left), ..least.clone() };
            if left > 0 && fails(&shorter) {
                long = left;
                least = shorter;
            } else {
                step /= 2;
            }
        }
        for (kind, _) in KINDS {
            let mut without = least.without.clone();
            without.push(kind);
            let simpler = Self { without, ..least.clone() };
            if least.has(kind) && fails(&simpler) {
                least = simpler;
            }
        }
        least
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instances > 1 {
            write!(f, "{}x", self.instances)?;
        }
        write!(f, "{}", self.seed)?;
        if let Some(length) = self.length {
            write!(f, ":{length}")?;
        }
        for (number, kind) in self.without.iter().enumerate() {
            let name = KINDS.iter().find(|(of, _)| of == kind).map_or("", |(_, name)| name);
            let before = match (number, self.length) {
                (0, None) => "::",
                (0, Some(_)) => ":",
                _ => "+",
            };
            write!(f, "{before}{name}")?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no [instances x] seed[:transactions[:fault+fault]]");
        let (instances, text) = match text.trim().split_once('x') {
            Some((instances, rest)) => (instances.parse().map_err(|_| wrong())?, rest),
            None => (1, text.trim()),
        };
        let mut parts = text.split(':');
        let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or_else(wrong)?;
        let length = match parts.next() {
            None | Some("") => None,
            Some(length) => Some(length.parse().map_err(|_| wrong())?),
        };
        let named = |name| KINDS.iter().find(|(_, of)| *of == name).map(|(kind, _)| *kind).ok_or_else(wrong);
        let without = parts.next().map_or(Ok(Vec::new()), |names| names.split('+').map(named).collect())?;
        Ok(Self { seed, instances, length, without })
    }
}

#[test]
fn a_plan_is_read_as_it_is_written() {
    for text in ["17", "17:12", "17:12:disk", "17::net+clock", "2x17", "2x17:12:slot+log"] {
        assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
    }
    assert!("x".parse::<Plan>().is_err() && "1:2:weather".parse::<Plan>().is_err());
}

#[test]
fn shrinking_finds_what_matters() {
    let fails = |plan: &Plan| plan.length.is_none_or(|length| length >= 7) && plan.has(Kind::Net);
    let least = Plan::whole(3).shrink(100, fails);
    assert_eq!(least.to_string(), "3:7:deaths+server+slot+disk+rot+clock+tables+log");
}
