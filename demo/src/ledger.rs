//! Holds what the audit trigger wrote against what arrived. Pure: instants are handed in; knows no socket, no SQL.
use crate::verdict::Verdict;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What a resource's events are matched by. Those of one resource arrive in commit order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Event name.
    pub event: String,
    /// Tenant's id.
    pub tenant: String,
    /// Resource's id.
    pub resource: String,
}

/// One event of the ground truth.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Which.
    pub key: Key,
    /// What the payload must hold, as it stood at commit.
    pub state: Map<String, Value>,
}

/// One event that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Which.
    pub key: Key,
    /// `webhook-id`.
    pub id: String,
    /// `data`.
    pub data: Map<String, Value>,
    /// Whether both signatures hold.
    pub verified: bool,
    /// When its last byte was here.
    pub at: Instant,
}

/// A fact with its arrival.
#[derive(Debug, Clone)]
pub struct Match {
    /// Which.
    pub key: Key,
    /// From COMMIT returned to the last byte received.
    pub latency: Duration,
    /// Whether both signatures hold.
    pub verified: bool,
}

/// The book.
#[derive(Debug, Default)]
pub struct Ledger {
    awaited: HashMap<Key, VecDeque<(Fact, Instant)>>,
    early: HashMap<Key, VecDeque<Arrival>>,
    ids: HashSet<String>,
    verdict: Verdict,
}

impl Ledger {
    /// A fact was committed.
    pub fn committed(&mut self, fact: Fact, at: Instant) -> Option<Match> {
        self.verdict.expect(&fact.key.event);
        if let Some(arrival) = self.early.get_mut(&fact.key).and_then(VecDeque::pop_front) {
            return Some(self.settle(&fact, at, &arrival));
        }
        self.awaited.entry(fact.key.clone()).or_default().push_back((fact, at));
        None
    }
    /// An event arrived; it may be faster than the answer to COMMIT.
    pub fn received(&mut self, arrival: Arrival) -> Option<Match> {
        if !arrival.verified {
            self.verdict.unverified += 1;
        }
        if !self.ids.insert(arrival.id.clone()) {
            self.verdict.duplicates += 1;
            return None;
        }
        if let Some((fact, at)) = self.awaited.get_mut(&arrival.key).and_then(VecDeque::pop_front) {
            return Some(self.settle(&fact, at, &arrival));
        }
        self.early.entry(arrival.key.clone()).or_default().push_back(arrival);
        None
    }
    /// Whether everything committed so far has arrived.
    pub fn is_settled(&self) -> bool {
        self.awaited.values().all(VecDeque::is_empty)
    }
    /// What it comes to.
    pub fn close(mut self) -> Verdict {
        for fact in self.awaited.into_values().flatten().map(|(fact, _)| fact) {
            self.verdict.missing.push(fact.key);
        }
        for arrival in self.early.into_values().flatten() {
            self.verdict.unexpected.push(arrival.key);
        }
        self.verdict.missing.sort();
        self.verdict.unexpected.sort();
        self.verdict
    }
    fn settle(&mut self, fact: &Fact, committed: Instant, arrival: &Arrival) -> Match {
        let latency = arrival.at.saturating_duration_since(committed);
        let same = fact.state.iter().all(|(name, value)| arrival.data.get(name) == Some(value));
        if !same {
            self.verdict.wrong_state.push(fact.key.clone());
        }
        self.verdict.arrived(&fact.key.event, latency);
        Match { key: fact.key.clone(), latency, verified: arrival.verified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(resource: &str) -> Key {
        Key { event: "invoice.sent".to_owned(), tenant: "t".to_owned(), resource: resource.to_owned() }
    }
    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }
    fn fact(resource: &str, total: u32) -> Fact {
        Fact { key: key(resource), state: object(&json!({ "total": total })) }
    }
    fn arrival(resource: &str, id: &str, total: u32, verified: bool, at: Instant) -> Arrival {
        let data = object(&json!({ "total": total, "more": 1 }));
        Arrival { key: key(resource), id: id.to_owned(), data, verified, at }
    }

    #[test]
    fn everything_once_and_verified_is_fine() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let later = start + Duration::from_millis(3);
        assert!(ledger.committed(fact("a", 1), start).is_none());
        assert!(!ledger.is_settled());
        let matched = ledger.received(arrival("a", "1", 1, true, later)).unwrap();
        assert_eq!(matched.latency, Duration::from_millis(3));
        // Faster than the answer to COMMIT.
        assert!(ledger.received(arrival("b", "2", 2, true, start)).is_none());
        assert_eq!(ledger.committed(fact("b", 2), later).unwrap().latency, Duration::ZERO);
        assert!(ledger.is_settled());
        let verdict = ledger.close();
        assert!(verdict.is_fine(), "{verdict}");
    }

    #[test]
    fn each_fault_is_seen() {
        type Act = fn(&mut Ledger, Instant);
        let cases: [(&str, Act); 5] = [
            ("1 missing", |ledger, at| {
                ledger.committed(fact("a", 1), at);
            }),
            ("1 unexpected", |ledger, at| {
                ledger.received(arrival("a", "1", 1, true, at));
            }),
            ("1 duplicate", |ledger, at| {
                ledger.committed(fact("a", 1), at);
                ledger.received(arrival("a", "1", 1, true, at));
                ledger.received(arrival("a", "1", 1, true, at));
            }),
            ("1 unverified", |ledger, at| {
                ledger.committed(fact("a", 1), at);
                ledger.received(arrival("a", "1", 1, false, at));
            }),
            ("1 with another state", |ledger, at| {
                ledger.committed(fact("a", 1), at);
                ledger.received(arrival("a", "1", 2, true, at));
            }),
        ];
        for (fault, act) in cases {
            let mut ledger = Ledger::default();
            let at = Instant::now();
            ledger.committed(fact("fine", 1), at);
            ledger.received(arrival("fine", "0", 1, true, at));
            act(&mut ledger, at);
            let verdict = ledger.close();
            assert!(!verdict.is_fine() && verdict.to_string().contains(fault), "{fault}: {verdict}");
        }
    }

    #[test]
    fn nothing_at_all_is_not_fine() {
        assert!(!Ledger::default().close().is_fine());
    }
}
