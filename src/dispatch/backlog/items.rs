//! Purpose: the deliveries of one lane that are in memory, and the state of each, pure. Must not: decide what becomes of one.
use crate::dispatch::backlog::waits::Moment;
use crate::dispatch::message::{OwnerMessage, ReadyTicket};
use crate::dispatch::parcel::ParcelMember;
use crate::dispatch::ticket::{EndpointId, Ticket};
use crate::dispatch::timers::Timer;
use crate::domain::{Pending, Seq, SubscriptionId};
use std::collections::BTreeMap;

/// Where a delivery in memory stands. Times are steady milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum TicketState {
    /// Behind another one of its key.
    Queued,
    /// Due then.
    Waiting(i64),
    /// Due since then, and free to go.
    Ready(i64),
    /// An attempt is under way.
    InFlight,
    /// Waits until what was decided is durable.
    Settling(Ending),
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Ending {
    /// Delivered, failed or abandoned.
    Final,
    /// Tried again then.
    Retry(i64),
}

/// How an attempt ended for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct AttemptEnd {
    /// It used up a retry.
    pub(in crate::dispatch) counted: bool,
    /// Pending again then (Unix and steady milliseconds), or never.
    pub(in crate::dispatch) retry: Option<(i64, i64)>,
}

impl TicketState {
    /// Neither on its way nor decided: it can be given up or dropped from memory.
    pub(in crate::dispatch) fn is_idle(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting(_) | Self::Ready(_))
    }
    /// Ready or in flight: it uses the lane's window.
    fn is_active(self) -> bool {
        matches!(self, Self::Ready(_) | Self::InFlight)
    }
}

/// A delivery in memory.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Item {
    pub(in crate::dispatch) pending: Pending,
    pub(in crate::dispatch) state: TicketState,
    /// Its order key in this lane.
    pub(in crate::dispatch) order: Option<u64>,
    /// Steady millisecond at which it is abandoned, and whether a timer is set for it.
    expires: i64,
    watched: bool,
}

/// The deliveries of one lane that are in memory. What concerns others is said in `out`.
#[derive(Debug)]
pub(in crate::dispatch) struct LaneItems {
    lane: SubscriptionId,
    /// Where they go; `None` while the subscription is gone.
    endpoint: Option<EndpointId>,
    items: BTreeMap<Seq, Item>,
    /// Of them: ready or in flight.
    active: usize,
}

pub(in crate::dispatch) type Out<'a> = &'a mut Vec<OwnerMessage>;

impl LaneItems {
    pub(in crate::dispatch) fn new(lane: SubscriptionId) -> Self {
        Self { lane, endpoint: None, items: BTreeMap::new(), active: 0 }
    }
    pub(in crate::dispatch) fn len(&self) -> usize {
        self.items.len()
    }
    pub(in crate::dispatch) fn active(&self) -> usize {
        self.active
    }
    pub(in crate::dispatch) fn endpoint(&self) -> Option<EndpointId> {
        self.endpoint
    }
    pub(in crate::dispatch) fn get(&self, seq: Seq) -> Option<&Item> {
        self.items.get(&seq)
    }
    pub(in crate::dispatch) fn has(&self, seq: Seq) -> bool {
        self.items.contains_key(&seq)
    }
    /// Has it been decided that nothing more is owed, though the store may not know yet?
    pub(in crate::dispatch) fn is_over(&self, seq: Seq) -> bool {
        self.get(seq).is_some_and(|item| item.state == TicketState::Settling(Ending::Final))
    }
    /// The oldest that can be given up.
    pub(in crate::dispatch) fn oldest_idle(&self) -> Option<Seq> {
        self.items.iter().find(|(_, item)| item.state.is_idle()).map(|(seq, _)| *seq)
    }
    pub(in crate::dispatch) fn ticket(&self, seq: Seq) -> Ticket {
        Ticket { lane: self.lane, seq }
    }

    /// Puts a delivery in, queued, with a timer for its end.
    pub(in crate::dispatch) fn insert(
        &mut self,
        pending: Pending,
        order: Option<u64>,
        at: Moment,
        out: Out<'_>,
    ) {
        let (seq, expires) = (pending.seq, at.expires(&pending));
        out.push(OwnerMessage::Set(expires, Timer::Expire(self.ticket(seq))));
        let item = Item { pending, state: TicketState::Queued, expires, watched: true, order };
        let before = self.items.insert(seq, item);
        debug_assert!(before.is_none(), "{:?} is in memory twice", self.ticket(seq));
    }

    /// The one way from state to state: keeps the count of the active ones, and says what others must know.
    pub(in crate::dispatch) fn set_state(&mut self, seq: Seq, state: TicketState, out: Out<'_>) {
        let (ticket, endpoint) = (self.ticket(seq), self.endpoint);
        let Some(item) = self.items.get_mut(&seq) else {
            debug_assert!(false, "{ticket:?} is not in memory");
            return;
        };
        let was = std::mem::replace(&mut item.state, state);
        let retry = item.pending.attempts > 0;
        self.active = (self.active + usize::from(state.is_active())).saturating_sub(was.is_active().into());
        let ready = |due| ReadyTicket { ticket, due, retry };
        match (was, endpoint) {
            (TicketState::Waiting(due), _) => out.push(OwnerMessage::Cancel(due, Timer::Due(ticket))),
            // what an endpoint has taken out of its queue needs no word
            (TicketState::Ready(due), Some(endpoint)) if state != TicketState::InFlight => {
                out.push(OwnerMessage::Unready(endpoint, ready(due)));
            }
            _ => {}
        }
        match (state, endpoint) {
            (TicketState::Waiting(due), _) => out.push(OwnerMessage::Set(due, Timer::Due(ticket))),
            (TicketState::Ready(due), Some(endpoint)) => out.push(OwnerMessage::Ready(endpoint, ready(due))),
            (TicketState::Ready(_), None) => debug_assert!(false, "{ticket:?} is ready for no endpoint"),
            _ => {}
        }
    }

    /// Its time has come: the timer is gone, it is ready.
    pub(in crate::dispatch) fn due(&mut self, seq: Seq, at: i64, out: Out<'_>) {
        if let Some(item) = self.items.get_mut(&seq) {
            debug_assert_eq!(item.state, TicketState::Waiting(at), "it does not wait for that timer");
            item.state = TicketState::Queued;
        }
        self.set_state(seq, TicketState::Ready(at), out);
    }

    /// It is too old, and the timer for that is gone; true: it is idle.
    pub(in crate::dispatch) fn expired(&mut self, seq: Seq) -> bool {
        let item = self.items.get_mut(&seq);
        debug_assert!(item.as_ref().is_some_and(|item| item.watched), "no timer is set for it");
        item.is_some_and(|item| {
            item.watched = false;
            item.state.is_idle()
        })
    }
    pub(in crate::dispatch) fn has_expired(&self, seq: Seq, at: Moment) -> bool {
        self.get(seq).is_some_and(|item| at.has_come(item.expires))
    }
    /// It is decided: no timer is needed.
    pub(in crate::dispatch) fn unwatch(&mut self, seq: Seq, out: Out<'_>) {
        let ticket = self.ticket(seq);
        if let Some(item) = self.items.get_mut(&seq)
            && std::mem::take(&mut item.watched)
        {
            out.push(OwnerMessage::Cancel(item.expires, Timer::Expire(ticket)));
        }
    }

    /// An attempt begins.
    pub(in crate::dispatch) fn begin(&mut self, seq: Seq, out: Out<'_>) -> Option<ParcelMember> {
        let item = self.get(seq)?;
        let TicketState::Ready(due) = item.state else {
            debug_assert!(false, "{:?} is started and is {:?}", self.ticket(seq), item.state);
            return None;
        };
        let member = ParcelMember { ticket: self.ticket(seq), pending: item.pending.clone(), due };
        self.set_state(seq, TicketState::InFlight, out);
        Some(member)
    }

    /// An attempt has ended: what was decided is to be made durable.
    pub(in crate::dispatch) fn attempted(&mut self, seq: Seq, end: AttemptEnd, out: Out<'_>) {
        let ticket = self.ticket(seq);
        if let Some(item) = self.items.get_mut(&seq) {
            debug_assert_eq!(item.state, TicketState::InFlight, "{ticket:?} is back and was not on its way");
            let pending = &mut item.pending;
            pending.attempts = pending.attempts.saturating_add(1);
            pending.counted_attempts = pending.counted_attempts.saturating_add(u32::from(end.counted));
            pending.due_ms = end.retry.map_or(pending.due_ms, |(at, _)| at);
        }
        let ending = end.retry.map_or(Ending::Final, |(_, due)| Ending::Retry(due));
        self.set_state(seq, TicketState::Settling(ending), out);
    }

    /// What was decided is durable: drops it; gives its order key.
    pub(in crate::dispatch) fn remove(&mut self, seq: Seq, out: Out<'_>) -> Option<u64> {
        self.unwatch(seq, out);
        let item = self.items.remove(&seq);
        debug_assert!(item.as_ref().is_some_and(|item| !item.state.is_idle()), "{:?}", self.ticket(seq));
        if self.items.is_empty() {
            // an empty map keeps its last node: kilobytes, for every subscription that was ever used
            self.items = BTreeMap::new();
        }
        item.and_then(|item| item.order)
    }

    /// Drops what is idle; for what stays, in order, `keep` gives the key from now on.
    pub(in crate::dispatch) fn drop_idle(
        &mut self,
        mut keep: impl FnMut(&Pending) -> Option<u64>,
        out: Out<'_>,
    ) {
        let idle = |(seq, item): (&Seq, &Item)| item.state.is_idle().then_some(*seq);
        let idle: Vec<Seq> = self.items.iter().filter_map(idle).collect();
        for seq in idle {
            self.set_state(seq, TicketState::Queued, out);
            self.unwatch(seq, out);
            self.items.remove(&seq);
        }
        for item in self.items.values_mut() {
            item.order = keep(&item.pending);
        }
    }

    /// They go there from now on.
    pub(in crate::dispatch) fn lead_to(&mut self, to: Option<EndpointId>, out: Out<'_>) {
        let from = std::mem::replace(&mut self.endpoint, to);
        for (seq, item) in &self.items {
            let TicketState::Ready(due) = item.state else { continue };
            let ticket = Ticket { lane: self.lane, seq: *seq };
            let ready = ReadyTicket { ticket, due, retry: item.pending.attempts > 0 };
            out.extend(from.map(|from| OwnerMessage::Unready(from, ready)));
            out.extend(to.map(|to| OwnerMessage::Ready(to, ready)));
        }
    }
}

#[cfg(any(test, debug_assertions))]
impl LaneItems {
    pub(in crate::dispatch) fn check(&self) {
        let active = self.items.values().filter(|item| item.state.is_active()).count();
        assert_eq!(self.active, active, "ready or in flight, {:?}", self.lane);
    }
    pub(in crate::dispatch) fn iter(&self) -> impl Iterator<Item = (Ticket, &Item)> {
        self.items.iter().map(|(seq, item)| (self.ticket(*seq), item))
    }
}

#[cfg(any(test, debug_assertions))]
impl Item {
    /// What its endpoint has of it.
    pub(in crate::dispatch) fn ready(&self, ticket: Ticket) -> Option<ReadyTicket> {
        match self.state {
            TicketState::Ready(due) => Some(ReadyTicket { ticket, due, retry: self.pending.attempts > 0 }),
            _ => None,
        }
    }
    /// What it waits for.
    pub(in crate::dispatch) fn timers(&self, ticket: Ticket) -> impl Iterator<Item = (i64, Timer)> {
        let expire = self.watched.then_some((self.expires, Timer::Expire(ticket)));
        let due = match self.state {
            TicketState::Waiting(at) => Some((at, Timer::Due(ticket))),
            _ => None,
        };
        expire.into_iter().chain(due)
    }
}
