//! Which delivery goes when, pure: lanes grouped into endpoints, rounds, limits, timers (SPEC 5.2–5.5). No async, no
//! clock, no store: what it wants to read it asks for (`wants`), what it decides it hands out (`done`, `given_up`).
//!
//! Every step costs O(log n) in lanes, endpoints and deliveries in memory. `roster` opens and closes lanes, `refill`
//! reads them, `pick` starts attempts, `settle` ends them.
use crate::dispatch::backlog::lane::{Admission, Ending, Lane, Successor, TicketState};
use crate::dispatch::backlog::refill::HELD;
use crate::dispatch::now::{Now, millis};
use crate::dispatch::rounds::endpoint::{Endpoint, EndpointId, RoundPlace};
use crate::dispatch::ticket::Ticket;
use crate::domain::{EndpointKey, Pending, SubscriptionId};
use crate::fault;
use crate::settings::DispatchSettings;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// In memory.
    Taken,
    /// In the store: it will be read when its turn comes; or it is known already.
    Left,
    /// The lane is not known: open it and mark its backlog.
    UnknownLane,
}

/// A delivery that is given up without an attempt: make it durable, then call `settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Which.
    pub ticket: Ticket,
    /// Its key in the store.
    pub key: crate::domain::DeliveryKey,
    /// One line for people.
    pub reason: &'static str,
}

/// Something that happens at a (steady) millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dispatch) enum Timer {
    Due(Ticket),
    Expire(Ticket),
    Endpoint(EndpointId),
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    pub(in crate::dispatch) settings: DispatchSettings,
    pub(in crate::dispatch) lanes: BTreeMap<SubscriptionId, Lane>,
    pub(in crate::dispatch) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(in crate::dispatch) by_key: BTreeMap<EndpointKey, EndpointId>,
    pub(in crate::dispatch) next_id: EndpointId,
    /// Endpoints that may have something to start, in rounds.
    pub(in crate::dispatch) round: VecDeque<EndpointId>,
    pub(in crate::dispatch) unproven: VecDeque<EndpointId>,
    pub(in crate::dispatch) retries: VecDeque<EndpointId>,
    pub(in crate::dispatch) timers: BTreeSet<(i64, Timer)>,
    pub(in crate::dispatch) in_flight: usize,
    pub(in crate::dispatch) unproven_in_flight: usize,
    pub(in crate::dispatch) retries_in_flight: usize,
    pub(in crate::dispatch) refusing: usize,
    pub(in crate::dispatch) held: usize,
    pub(in crate::dispatch) hungry: VecDeque<SubscriptionId>,
    pub(in crate::dispatch) firsts: VecDeque<(SubscriptionId, u64)>,
    pub(in crate::dispatch) counting: VecDeque<SubscriptionId>,
    pub(in crate::dispatch) given_up: Vec<GivenUp>,
}

impl Scheduler {
    /// Nothing known yet.
    pub fn new(settings: DispatchSettings) -> Self {
        Self {
            settings,
            lanes: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_id: 0,
            round: VecDeque::new(),
            unproven: VecDeque::new(),
            retries: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            unproven_in_flight: 0,
            retries_in_flight: 0,
            refusing: 0,
            held: 0,
            hungry: VecDeque::new(),
            firsts: VecDeque::new(),
            counting: VecDeque::new(),
            given_up: Vec::new(),
        }
    }

    /// A delivery that has become pending.
    pub fn offer(&mut self, pending: Pending, now: Now) -> Offered {
        let id = pending.subscription;
        let Some(lane) = self.lanes.get_mut(&id) else { return Offered::UnknownLane };
        let early = lane.was_early(pending.seq);
        let over = lane.is_over(pending.seq) || (early && !lane.items.contains_key(&pending.seq));
        let counted = !over && lane.owed.saw(pending.seq);
        let endpoint = lane.endpoint;
        let stale = early || lane.seen >= Some(pending.seq);
        let room = lane.items.len() < self.room(id) && self.held < HELD;
        let Some(lane) = self.lanes.get_mut(&id) else { return Offered::UnknownLane };
        let offered = if stale || lane.more {
            Offered::Left
        } else if room {
            lane.saw(pending.seq);
            lane.cursor = Some(pending.seq);
            self.admit(pending, now);
            Offered::Taken
        } else {
            lane.more = true;
            self.touch(id);
            Offered::Left
        };
        if let Some(endpoint) = endpoint.filter(|_| counted) {
            self.owes(endpoint, 1);
            self.crowd_out(endpoint);
        }
        offered
    }

    /// Decisions to make durable.
    pub fn take_given_up(&mut self) -> Vec<GivenUp> {
        std::mem::take(&mut self.given_up)
    }

    /// When there is something to do without anything happening: a steady millisecond.
    pub fn next_wake(&self) -> Option<i64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Endpoints whose breaker refuses or probes.
    pub fn refusing(&self) -> usize {
        self.refusing
    }
    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
    /// Deliveries in memory.
    pub fn held(&self) -> usize {
        self.held
    }

    pub(in crate::dispatch) fn admit(&mut self, pending: Pending, now: Now) {
        let Some(lane) = self.lanes.get_mut(&pending.subscription) else { return };
        let ticket = Ticket { lane: pending.subscription, seq: pending.seq };
        let expires = expires(&pending, &self.settings, now);
        let anothers = lane.is_anothers(&self.endpoints, &pending).then_some(ANOTHERS);
        let over = lane.gone.or(anothers).or_else(|| (expires <= now.steady).then_some(EXPIRED));
        if let Some(reason) = over {
            let key = pending.key.clone();
            if lane.admit_ended(pending) {
                self.held += 1;
                self.no_longer_owed(ticket);
                self.given_up.push(GivenUp { ticket, key, reason });
            }
            return;
        }
        match lane.admit(pending, expires) {
            Admission::Left => return,
            Admission::Head => {
                self.held += 1;
                self.arm(ticket, now);
            }
            Admission::Follower => self.held += 1,
        }
        self.timers.insert((expires, Timer::Expire(ticket)));
    }

    /// A delivery whose turn it is waits until it is due, or is ready.
    pub(in crate::dispatch) fn arm(&mut self, ticket: Ticket, now: Now) {
        let Some(item) = self.lanes.get(&ticket.lane).and_then(|lane| lane.items.get(&ticket.seq)) else {
            return;
        };
        // A due time further off than any wait we give is a wall clock that was wrong. Nothing waits for its first attempt:
        // its due time is that of the commit, by the server's clock, which may be ahead of ours.
        let backoff = &self.settings.backoff;
        let longest = match item.pending.attempts {
            0 => 0,
            _ if fault::planted("wait-by-wall-clock") => i64::MAX,
            _ => millis(backoff.max.mul_f64(1.0 + backoff.jitter.clamp(0.0, 1.0))),
        };
        let wait = item.pending.due_ms.saturating_sub(now.wall).clamp(0, longest);
        self.wait_until(ticket, now.steady.saturating_add(wait), now);
    }

    pub(in crate::dispatch) fn wait_until(&mut self, ticket: Ticket, due: i64, now: Now) {
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else { return };
        let Some(item) = lane.items.get_mut(&ticket.seq) else { return };
        if due > now.steady {
            item.state = TicketState::Waiting(due);
            self.timers.insert((due, Timer::Due(ticket)));
            return;
        }
        item.state = TicketState::Ready(due);
        lane.active += 1;
        let retry = item.pending.attempts > 0;
        if let Some(id) = lane.endpoint
            && let Some(endpoint) = self.endpoints.get_mut(&id)
        {
            endpoint.insert(ticket, due, retry);
            self.enqueue(id);
        }
    }

    /// Puts an endpoint into the round, if it has something and waits for nothing.
    pub(in crate::dispatch) fn enqueue(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let free = match endpoint.place {
            RoundPlace::Idle => endpoint.has_ready(),
            RoundPlace::Retries => endpoint.has_fresh(),
            RoundPlace::Unproven => endpoint.proven,
            RoundPlace::Running | RoundPlace::Timed(_) => false,
        };
        if free {
            endpoint.place = RoundPlace::Running;
            self.round.push_back(id);
        }
    }

    /// Takes a delivery out of the endpoint's queue and the timers, whatever it waits for.
    pub(in crate::dispatch) fn unhook(&mut self, ticket: Ticket) {
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else { return };
        let Some(item) = lane.items.get(&ticket.seq) else { return };
        self.timers.remove(&(item.expires, Timer::Expire(ticket)));
        match item.state {
            TicketState::Waiting(due) => {
                self.timers.remove(&(due, Timer::Due(ticket)));
            }
            TicketState::Ready(due) => {
                let retry = item.pending.attempts > 0;
                lane.active = lane.active.saturating_sub(1);
                if let Some(endpoint) = lane.endpoint.and_then(|id| self.endpoints.get_mut(&id)) {
                    endpoint.remove(ticket, due, retry);
                }
            }
            _ => {}
        }
    }

    /// Drops a delivery that is settled; its key goes on.
    pub(in crate::dispatch) fn drop_item(&mut self, ticket: Ticket, now: Now) {
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else { return };
        let (item, successor) = lane.remove(ticket.seq);
        if item.is_some() {
            self.held = self.held.saturating_sub(1);
        }
        match successor {
            Successor::Next(seq) => self.arm(Ticket { seq, ..ticket }, now),
            Successor::Read(order) => self.firsts.push_back((ticket.lane, order)),
            Successor::Nobody => {}
        }
        self.touch(ticket.lane);
    }

    /// Gives an idle delivery up.
    pub(in crate::dispatch) fn give_up(&mut self, ticket: Ticket, reason: &'static str) {
        self.unhook(ticket);
        let Some(item) = self.lanes.get_mut(&ticket.lane).and_then(|lane| lane.items.get_mut(&ticket.seq))
        else {
            return;
        };
        item.state = TicketState::Settling(Ending::Final);
        let key = item.pending.key.clone();
        self.no_longer_owed(ticket);
        self.given_up.push(GivenUp { ticket, key, reason });
    }

    pub(in crate::dispatch) fn no_longer_owed(&mut self, ticket: Ticket) {
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else { return };
        if lane.owed.ended(ticket.seq)
            && let Some(id) = lane.endpoint
        {
            self.owes(id, -1);
        }
    }

    pub(in crate::dispatch) fn owes(&mut self, id: EndpointId, change: i64) {
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.owed = endpoint.owed.saturating_add_signed(change);
        }
    }
}

/// Why a delivery is given up whose subscription has changed its tenant.
pub(in crate::dispatch) const ANOTHERS: &str = "the subscription belongs to another tenant now";
/// Why an old delivery is given up.
pub(in crate::dispatch) const EXPIRED: &str = "expired: older than delivery.expire_after";

/// When a delivery is abandoned: counted from its event, or from the manual retry that made it pending again.
fn expires(pending: &Pending, settings: &DispatchSettings, now: Now) -> i64 {
    let created = pending.created_us / 1000;
    let since = if pending.attempts == 0 { created.max(pending.due_ms) } else { created };
    let left = since.saturating_add(millis(settings.expire_after)).saturating_sub(now.wall);
    now.steady.saturating_add(left)
}

#[cfg(test)]
mod tests;
