//! Everything that may happen to deliveries, in any order that a seed gives; whatever it is, each ends once.
use super::world::{World, facts, settings};
use crate::dispatch::backlog::lane::tests::lane_id;
use crate::dispatch::rounds::endpoint::RoundSums;
use crate::dispatch::{BegunRead, Facts, Job};
use crate::domain::{Ordering, Pending, SubscriptionId};
use crate::settings::{DispatchSettings, PerEndpoint};
use std::collections::{BTreeMap, VecDeque};

/// A small generator: the test must not depend on a crate's algorithm.
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// One life: 12 lanes on 6 endpoints.
struct Life {
    random: Random,
    world: World,
    flight: Vec<Job>,
    unsettled: Vec<Job>,
    /// Committed, not yet in the feed.
    offers: VecDeque<Pending>,
    /// Reads under way, and what the store has said.
    reads: Vec<(BegunRead, Option<Vec<Pending>>)>,
    /// Lane and key of each place.
    orders: BTreeMap<u64, (SubscriptionId, Option<u64>)>,
    /// Lanes keep their ordering, and it is checked.
    ordered: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let per_endpoint = PerEndpoint { concurrency: 3, rate: 0, burst: 2 };
        let small = DispatchSettings { concurrency: 6, per_endpoint, ..settings() };
        Self {
            random: Random(seed * 2 + 1),
            world: World::with_lanes(small, 12),
            flight: Vec::new(),
            unsettled: Vec::new(),
            offers: VecDeque::new(),
            reads: Vec::new(),
            orders: BTreeMap::new(),
            ordered: seed.is_multiple_of(2),
        }
    }
    fn lane(&mut self) -> u128 {
        1 + u128::from(self.random.below(12))
    }
    fn one_of(random: &mut Random, jobs: &mut Vec<Job>) -> Option<Job> {
        let count = jobs.len() as u64;
        (count > 0).then(|| jobs.swap_remove(random.below(count) as usize))
    }
    fn step(&mut self) {
        match self.random.below(100) {
            0..=29 => self.commit(),
            30..=41 => self.feed(),
            42..=52 => self.read(),
            53..=64 => self.flight.extend(self.world.start()),
            65..=79 => self.end_one(),
            80..=91 => {
                if let Some(job) = Self::one_of(&mut self.random, &mut self.unsettled) {
                    self.world.settle(&job);
                }
            }
            92..=93 => self.world.now += self.random.below(20_000) as i64,
            94 => drop(self.world.give_up()),
            95 => self.change_lane(),
            96 if self.random.below(8) == 0 => {
                let (lane, time) = (self.lane(), self.world.time());
                self.world.scheduler.close_lane(lane_id(lane), "deleted", time);
            }
            97 => {
                let lane = self.lane();
                self.world.scheduler.backlog(lane_id(lane));
            }
            99 => self.overflow(),
            98 => self.put_one_back(),
            _ => {}
        }
    }
    fn commit(&mut self) {
        let lane = self.lane();
        let order = (self.random.below(4) > 0).then(|| self.random.below(5));
        let new = self.world.create(lane, order);
        self.orders.insert(new.seq.parts().0, (new.subscription, order));
        self.offers.push_back(new);
    }
    fn feed(&mut self) {
        for pending in self.offers.drain(..) {
            self.world.scheduler.offer(pending, self.world.time());
        }
    }
    /// A read begins, the store is asked, an answer comes: each at its own time.
    fn read(&mut self) {
        if self.random.below(2) == 0 {
            self.reads.extend(self.world.scheduler.begin_reads(2).into_iter().map(|read| (read, None)));
        }
        if self.reads.is_empty() {
            return;
        }
        let at = self.random.below(self.reads.len() as u64) as usize;
        match self.reads[at].clone() {
            (read, None) => self.reads[at].1 = Some(self.world.look(&read)),
            (read, Some(_)) if self.random.below(10) == 0 => {
                self.world.scheduler.not_read(&read);
                self.reads.remove(at);
            }
            (read, Some(found)) if self.random.below(3) > 0 => {
                self.world.answer((read, found));
                self.reads.remove(at);
            }
            _ => {}
        }
    }
    fn end_one(&mut self) {
        let Some(job) = Self::one_of(&mut self.random, &mut self.flight) else { return };
        let statuses = [200, 200, 200, 200, 200, 204, 302, 404, 500, 503, 0, 1, 2];
        self.world.done(&job, statuses[self.random.below(13) as usize]);
        self.unsettled.push(job);
    }
    fn change_lane(&mut self) {
        let orderings = [None, Some(Ordering::Endpoint), Some(Ordering::None)];
        let ordering = orderings[self.random.below(3) as usize].filter(|_| !self.ordered);
        let rate = [None, Some(5), Some(100)][self.random.below(3) as usize];
        let changed = Facts { ordering, rate, ..facts(1 + u128::from(self.random.below(6))) };
        let (lane, time) = (self.lane(), self.world.time());
        self.world.scheduler.open_lane(lane_id(lane), &changed, time);
    }
    /// The feed loses what was not taken.
    fn overflow(&mut self) {
        if self.random.below(4) == 0 {
            self.offers.clear();
            self.world.scheduler.backlog_of_all();
        }
    }
    fn put_one_back(&mut self) {
        let Some(job) = self.flight.pop() else { return };
        self.world.scheduler.put_back(&job, self.world.time());
        let name = (job.ticket().lane, job.ticket().seq.parts().0);
        let at = self.world.attempts.iter().rposition(|attempt| *attempt == name).unwrap();
        self.world.attempts.remove(at);
    }
    fn check(&self) {
        assert!(self.flight.len() <= 6 && self.world.scheduler.in_flight() == self.flight.len());
        let mut tickets: Vec<_> = self.flight.iter().map(Job::ticket).collect();
        tickets.sort();
        tickets.dedup();
        assert_eq!(tickets.len(), self.flight.len(), "one attempt at a time of a delivery");
    }
    /// Faults are over: everything ends.
    fn end(&mut self) {
        for job in self.flight.drain(..) {
            self.world.done(&job, 200);
            self.unsettled.push(job);
        }
        for job in self.unsettled.drain(..) {
            self.world.settle(&job);
        }
        self.feed();
        for (read, found) in std::mem::take(&mut self.reads) {
            let found = found.unwrap_or_else(|| self.world.look(&read));
            self.world.answer((read, found));
        }
        self.world.run_dry(200);
    }
    fn check_end(&mut self) {
        self.world.scheduler.check();
        let world = &self.world;
        assert_eq!(world.ended.len(), self.orders.len(), "everything ends");
        assert!(world.store.values().all(BTreeMap::is_empty));
        let mut last = BTreeMap::new();
        let keyed = |place: &u64| self.ordered && self.orders[place].1.is_some();
        for (_, place) in world.attempts.iter().filter(|(_, place)| keyed(place)) {
            let before = last.insert(self.orders[place], *place).unwrap_or(0);
            assert!(before <= *place, "{place} was attempted after {before}");
        }
        let scheduler = &world.scheduler;
        assert_eq!((scheduler.held(), scheduler.rounds.sums()), (0, RoundSums::default()));
        for lane in scheduler.backlog.lanes() {
            assert_eq!((lane.owed().count(), lane.owed().is_scanning()), (0, false), "{lane:?}");
            assert_eq!(lane.remembered(), 0, "{lane:?}");
        }
    }
}

#[test]
fn whatever_happens_every_delivery_ends_once() {
    for seed in 1..=24 {
        let mut life = Life::new(seed);
        for _ in 0..3_000 {
            life.step();
            life.check();
        }
        life.end();
        life.check_end();
    }
}
