//! Purpose: all lanes: what is in memory, what must be read, and what is owed to each endpoint (SPEC 5.5, 5.8), pure. Must not: depend
//! on whose turn it is, or import the scheduler.
use crate::dispatch::backlog::items::AttemptEnd;
use crate::dispatch::backlog::lane::Lane;
use crate::dispatch::backlog::refill::{BegunRead, Offered, ReadQueue, Want};
use crate::dispatch::backlog::waits::Waits;
use crate::dispatch::message::OwnerMessage;
#[cfg(test)]
use crate::dispatch::message::ReadyTicket;
use crate::dispatch::now::Now;
use crate::dispatch::parcel::ParcelMember;
use crate::dispatch::ticket::{EndpointId, Lead, Ticket};
use crate::domain::{Ordering, Parcel, Pending, SubscriptionId};
use crate::settings::DispatchSettings;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Deliveries in memory, all lanes; beyond it only empty lanes read, and little.
const HELD: usize = 65_536;
/// What a lane may have ready in memory if its endpoint works, and if not.
const WINDOW: usize = 1024;
const WINDOW_UNPROVEN: usize = 32;
/// Read at once.
const PAGE: usize = 256;
const PAGE_TIGHT: usize = 8;
/// Deliveries that are crowded out in one step.
const CROWDED: usize = 32;
const CROWDED_OUT: &str = "crowded out: the endpoint has more than delivery.max_pending deliveries";

/// The lanes that lead to one endpoint.
#[derive(Debug, Default)]
struct EndpointLanes {
    lanes: BTreeSet<SubscriptionId>,
    /// What they owe together, in memory and not.
    owed: u64,
    /// The endpoint's last attempt was a success.
    proven: bool,
}

/// All lanes.
#[derive(Debug)]
pub(in crate::dispatch) struct Backlog {
    waits: Waits,
    max_pending: u64,
    lanes: BTreeMap<SubscriptionId, Lane>,
    endpoints: BTreeMap<EndpointId, EndpointLanes>,
    /// Deliveries in memory, all lanes.
    held: usize,
    reads: ReadQueue,
    messages: Vec<OwnerMessage>,
}

impl Backlog {
    pub(in crate::dispatch) fn new(settings: &DispatchSettings) -> Self {
        Self {
            waits: Waits::new(settings),
            max_pending: settings.max_pending,
            lanes: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            held: 0,
            reads: ReadQueue::default(),
            messages: Vec::new(),
        }
    }

    /// Deliveries in memory.
    pub(in crate::dispatch) fn held(&self) -> usize {
        self.held
    }
    /// What is to be passed on.
    pub(in crate::dispatch) fn messages(&mut self) -> std::vec::Drain<'_, OwnerMessage> {
        self.messages.drain(..)
    }
    pub(in crate::dispatch) fn is_gone(&self, id: SubscriptionId) -> bool {
        self.lanes.get(&id).is_some_and(Lane::is_gone)
    }
    /// Where a lane leads to.
    pub(in crate::dispatch) fn endpoint_of(&self, id: SubscriptionId) -> Option<EndpointId> {
        self.lanes.get(&id)?.items().endpoint()
    }
    /// Lanes after this one, in order.
    pub(in crate::dispatch) fn lanes_after(
        &self,
        after: Option<SubscriptionId>,
        limit: usize,
    ) -> Vec<SubscriptionId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.lanes.range((from, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }
    /// The smallest rate of the lanes that lead to an endpoint (0: none); `None`: no lane does.
    pub(in crate::dispatch) fn rate(&self, endpoint: EndpointId) -> Option<u32> {
        let lanes = &self.endpoints.get(&endpoint)?.lanes;
        let rates = lanes.iter().filter_map(|lane| self.lanes.get(lane)).map(Lane::rate);
        Some(rates.filter(|rate| *rate > 0).min().unwrap_or(0))
    }

    /// Opens a lane, or makes it as its subscription is now; `proven`: its endpoint works.
    pub(in crate::dispatch) fn open(
        &mut self,
        id: SubscriptionId,
        lead: Lead,
        proven: bool,
        ordering: Ordering,
        rate: u32,
    ) {
        self.endpoints.entry(lead.endpoint).or_default().proven = proven;
        self.redirect(id, ordering, |lane, out| lane.open(lead, ordering, rate, out));
        self.touch(id);
    }

    /// Closes a lane: all that it owes is given up.
    pub(in crate::dispatch) fn close(
        &mut self,
        id: SubscriptionId,
        reason: &'static str,
        ordering: Ordering,
    ) {
        self.redirect(id, ordering, |lane, out| lane.close(reason, out));
        self.touch(id);
    }

    /// An endpoint works, or does not any more.
    pub(in crate::dispatch) fn proven(&mut self, endpoint: EndpointId, proven: bool) {
        // legal: no lane leads to it any more
        let Some(lanes) = self.endpoints.get_mut(&endpoint) else { return };
        lanes.proven = proven;
        if proven {
            for lane in lanes.lanes.clone() {
                self.touch(lane);
            }
        }
    }

    /// A delivery that has become pending.
    pub(in crate::dispatch) fn offer(&mut self, pending: Pending, now: Now) -> Offered {
        let (id, at) = (pending.subscription, self.waits.at(now));
        let Some(lane) = self.lanes.get(&id) else { return Offered::UnknownLane };
        let room = lane.items().len() < self.room(lane) && self.held < HELD;
        let offered = self.on(id, |lane, out| lane.offer(pending, room, at, out));
        self.crowd_out(id);
        self.touch(id);
        offered.unwrap_or(Offered::Left)
    }

    /// The store holds more for this lane than was offered: at start, and after the feed has overflowed.
    pub(in crate::dispatch) fn mark(&mut self, id: SubscriptionId) {
        if self.on(id, |lane, _| lane.has_backlog()) == Some(true) {
            self.reads.ask_count(id);
        }
        self.touch(id);
    }
    /// The store may hold more for any lane: what is offered from now on must not overtake it.
    pub(in crate::dispatch) fn mark_all(&mut self) {
        let all: Vec<SubscriptionId> = self.lanes.keys().copied().collect();
        for id in all {
            self.mark(id);
        }
    }

    /// Begins so many reads of the store, of lanes in turns. Counting is for `max_pending` alone: when there is nothing else to do, one
    /// page at a time.
    pub(in crate::dispatch) fn begin_reads(&mut self, limit: usize) -> Vec<BegunRead> {
        let mut begun = Vec::new();
        while begun.len() < limit {
            let Some(id) = self.reads.next() else { break };
            let room = self.lanes.get(&id).and_then(|lane| self.appetite(lane));
            let number = self.reads.next_number();
            // legal: it has no room any more, or has left
            let want = self.lanes.get_mut(&id).and_then(|lane| lane.begin_read(number, room));
            if let Some(want) = want {
                begun.push(BegunRead { lane: id, want, number });
                self.touch(id);
            }
        }
        if begun.is_empty()
            && limit > 0
            && let Some(id) = self.reads.next_count()
            && let Some(lane) = self.lanes.get_mut(&id)
        {
            let number = self.reads.next_number();
            begun.push(BegunRead { lane: id, want: lane.begin_count(number, PAGE), number });
        }
        begun
    }
    /// Would `begin_reads` begin something now?
    pub(in crate::dispatch) fn wants_reads(&self) -> bool {
        !self.reads.is_empty()
    }
    /// The answer to a read; of an order key the first alone.
    pub(in crate::dispatch) fn answered(&mut self, read: &BegunRead, found: Vec<Pending>, now: Now) {
        let (id, at) = (read.lane, self.waits.at(now));
        let goes_on = self.on(id, |lane, out| lane.answered((read.number, read.want), found, at, out));
        self.read_ended(read, goes_on == Some(true));
        self.crowd_out(id);
    }
    /// The store could not be asked: ask again later.
    pub(in crate::dispatch) fn not_read(&mut self, read: &BegunRead) {
        self.on(read.lane, |lane, _| lane.not_read(read.number, read.want));
        self.read_ended(read, matches!(read.want, Want::Count { .. }));
    }
    fn read_ended(&mut self, read: &BegunRead, goes_on: bool) {
        if matches!(read.want, Want::Count { .. }) {
            self.reads.count_ended();
        }
        if goes_on {
            self.reads.ask_count(read.lane);
        }
        self.touch(read.lane);
    }

    /// An attempt begins: composes the parcel of the delivery that its endpoint has taken. Of one, today.
    pub(in crate::dispatch) fn compose(&mut self, ticket: Ticket) -> Option<Parcel<ParcelMember>> {
        let member = self.on(ticket.lane, |lane, out| lane.begin(ticket.seq, out)).flatten()?;
        Some(Parcel::single(member.pending.key.id, member))
    }
    /// An attempt has ended: one end for all.
    pub(in crate::dispatch) fn ended(&mut self, parcel: &Parcel<ParcelMember>, end: AttemptEnd) {
        for ParcelMember { ticket, .. } in parcel.members() {
            self.on(ticket.lane, |lane, out| lane.ended(ticket.seq, end, out));
        }
    }
    /// An attempt was not made: as if it had not begun.
    pub(in crate::dispatch) fn put_back(&mut self, parcel: &Parcel<ParcelMember>, now: Now) {
        let at = self.waits.at(now);
        for ParcelMember { ticket, due, .. } in parcel.members() {
            self.on(ticket.lane, |lane, out| lane.resume(ticket.seq, *due, at, out));
            self.touch(ticket.lane);
        }
    }
    /// What was decided about a delivery is durable.
    pub(in crate::dispatch) fn settled(&mut self, ticket: Ticket, now: Now) {
        let at = self.waits.at(now);
        self.on(ticket.lane, |lane, out| lane.settled(ticket.seq, at, out));
        self.touch(ticket.lane);
    }
    /// A delivery's timer has come: it is due.
    pub(in crate::dispatch) fn due(&mut self, ticket: Ticket, at: i64) {
        self.on(ticket.lane, |lane, out| lane.due(ticket.seq, at, out));
    }
    /// A delivery's timer has come: it is too old.
    pub(in crate::dispatch) fn expired(&mut self, ticket: Ticket) {
        self.on(ticket.lane, |lane, out| lane.expired(ticket.seq, out));
    }

    /// Beyond `max_pending` the oldest that are in memory and not on their way are given up.
    fn crowd_out(&mut self, id: SubscriptionId) {
        let endpoint = self.endpoint_of(id);
        for _ in 0..CROWDED {
            // legal: a lane that is gone leads nowhere
            let Some(lanes) = endpoint.and_then(|id| self.endpoints.get(&id)) else { return };
            if lanes.owed <= self.max_pending {
                return;
            }
            let first = |lane: &SubscriptionId| Some((self.lanes.get(lane)?.items().oldest_idle()?, *lane));
            // legal: all that is in memory is on its way
            let Some((seq, lane)) = lanes.lanes.iter().filter_map(first).min() else { return };
            self.on(lane, |lane, out| lane.give_up(seq, CROWDED_OUT, out));
        }
    }

    /// Marks a lane to be read, if it has room and the store has more.
    fn touch(&mut self, id: SubscriptionId) {
        if self.lanes.get(&id).is_some_and(|lane| lane.wants_read(self.appetite(lane))) {
            self.reads.ask(id);
        }
    }

    fn window(&self, lane: &Lane) -> usize {
        let endpoint = lane.items().endpoint().and_then(|id| self.endpoints.get(&id));
        if endpoint.is_some_and(|endpoint| endpoint.proven) { WINDOW } else { WINDOW_UNPROVEN }
    }
    /// Deliveries that a lane may hold, waiting ones and followers included.
    fn room(&self, lane: &Lane) -> usize {
        4 * self.window(lane)
    }
    /// How many deliveries are to be read for a lane.
    fn appetite(&self, lane: &Lane) -> Option<usize> {
        if !lane.progress().has_more() {
            return None;
        }
        let items = lane.items();
        if lane.is_gone() {
            return (items.len() < PAGE).then_some(PAGE);
        }
        let window = self.window(lane);
        if items.active() >= window / 2 || items.len() >= self.room(lane) {
            return None;
        }
        if self.held >= HELD {
            return (items.len() == 0).then_some(PAGE_TIGHT);
        }
        Some(PAGE.min(window))
    }

    /// Works on one lane and keeps the sums of what is held and owed. `None`: it is not there.
    fn on<R>(
        &mut self,
        id: SubscriptionId,
        work: impl FnOnce(&mut Lane, &mut Vec<OwnerMessage>) -> R,
    ) -> Option<R> {
        let lane = self.lanes.get_mut(&id);
        debug_assert!(lane.is_some(), "lane {id} is not there");
        let lane = lane?;
        let before = (lane.items().len(), lane.owed().count(), lane.items().endpoint());
        let result = work(lane, &mut self.messages);
        self.held = (self.held + lane.items().len()).saturating_sub(before.0);
        debug_assert_eq!(before.2, lane.items().endpoint(), "led elsewhere unseen");
        if let Some(endpoint) = before.2.and_then(|id| self.endpoints.get_mut(&id)) {
            endpoint.owed = (endpoint.owed + lane.owed().count()).saturating_sub(before.1);
        }
        Some(result)
    }

    /// Works on one lane, a new one if need be, that may lead elsewhere afterwards.
    fn redirect(
        &mut self,
        id: SubscriptionId,
        ordering: Ordering,
        work: impl FnOnce(&mut Lane, &mut Vec<OwnerMessage>),
    ) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(id, ordering));
        if let Some(from) = lane.items().endpoint()
            && let Some(endpoint) = self.endpoints.get_mut(&from)
        {
            endpoint.lanes.remove(&id);
            endpoint.owed = endpoint.owed.saturating_sub(lane.owed().count());
        }
        let (from, held) = (lane.items().endpoint(), lane.items().len());
        work(lane, &mut self.messages);
        self.held = (self.held + lane.items().len()).saturating_sub(held);
        if let Some(to) = lane.items().endpoint() {
            let endpoint = self.endpoints.entry(to).or_default();
            endpoint.lanes.insert(id);
            endpoint.owed += lane.owed().count();
        }
        if let Some(from) = from
            && self.endpoints.get(&from).is_some_and(|endpoint| endpoint.lanes.is_empty())
        {
            self.endpoints.remove(&from);
        }
    }
}

#[cfg(test)]
impl Backlog {
    /// Another delivery that is ready goes along.
    pub(in crate::dispatch) fn join(
        &mut self,
        parcel: &Parcel<ParcelMember>,
        ticket: Ticket,
    ) -> Parcel<ParcelMember> {
        let joined = self.on(ticket.lane, |lane, out| {
            let member = lane.begin(ticket.seq, out)?;
            let ready = ReadyTicket { ticket, due: member.due, retry: member.pending.attempts > 0 };
            // its endpoint has not taken this one
            out.extend(lane.items().endpoint().map(|endpoint| OwnerMessage::Unready(endpoint, ready)));
            Some(member)
        });
        let rest = parcel.members().skip(1).cloned().chain(joined.flatten()).collect();
        Parcel::batch(crate::domain::ParcelId(uuid::Uuid::from_u128(77)), parcel.first().clone(), rest)
    }
}

#[cfg(any(test, debug_assertions))]
impl Backlog {
    pub(in crate::dispatch) fn count(&self) -> usize {
        self.lanes.len()
    }
    /// Everything that holds between two steps.
    pub(in crate::dispatch) fn check(&self) {
        let mut held = 0;
        let mut owed: BTreeMap<EndpointId, (u64, usize)> = BTreeMap::new();
        for (id, lane) in &self.lanes {
            lane.check();
            assert!(!lane.is_hungry() || self.reads.has(*id), "nothing will read it: {lane:?}");
            held += lane.items().len();
            let Some(endpoint) = lane.items().endpoint() else { continue };
            let sums = owed.entry(endpoint).or_default();
            *sums = (sums.0 + lane.owed().count(), sums.1 + 1);
            assert!(self.endpoints.get(&endpoint).is_some_and(|e| e.lanes.contains(id)), "{id:?}");
        }
        assert_eq!(held, self.held, "deliveries in memory");
        let sums = self.endpoints.iter().map(|(id, lanes)| (*id, (lanes.owed, lanes.lanes.len())));
        assert_eq!(owed, sums.collect(), "what is owed, and how many lanes lead to an endpoint");
        assert!(self.messages.is_empty(), "not passed on: {:?}", self.messages);
    }
    pub(in crate::dispatch) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values()
    }
    pub(in crate::dispatch) fn is_proven(&self, endpoint: EndpointId) -> Option<bool> {
        self.endpoints.get(&endpoint).map(|endpoint| endpoint.proven)
    }
}

#[cfg(test)]
mod tests;
