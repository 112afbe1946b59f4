//! Purpose: one subscription's deliveries, from the offer to the end (SPEC 5.4), pure. Must not: depend on other lanes, or on what its
//! endpoint may do now.
//!
//! A lane holds what can be attempted and little of what cannot: of each order key the head and a few followers; the rest
//! stays in the store and is read again when its turn comes.
use crate::dispatch::backlog::items::{Ending, LaneItems, Out, TicketState};
use crate::dispatch::backlog::order::{Admission, OrderKeys, Successor};
use crate::dispatch::backlog::owed::Owed;
use crate::dispatch::backlog::progress::Progress;
use crate::dispatch::backlog::waits::Moment;
use crate::dispatch::message::{GivenUp, Message};
use crate::dispatch::ticket::{EndpointId, Seq};
use crate::domain::{Ordering, Pending, SubscriptionId, TenantId};

/// Why a delivery is given up whose subscription has changed its tenant.
const ANOTHERS: &str = "the subscription belongs to another tenant now";
/// Why an old delivery is given up.
const EXPIRED: &str = "expired: older than delivery.expire_after";

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

/// How an attempt ended for its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct AttemptEnd {
    /// It used up a retry.
    pub(in crate::dispatch) counted: bool,
    /// Pending again then (Unix and steady milliseconds), or never.
    pub(in crate::dispatch) retry: Option<(i64, i64)>,
}

/// Where a lane leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dispatch) struct Lead {
    pub(in crate::dispatch) endpoint: EndpointId,
    pub(in crate::dispatch) tenant: TenantId,
}

/// One subscription's lane. What concerns others is said in `out`.
#[derive(Debug)]
pub(in crate::dispatch) struct Lane {
    items: LaneItems,
    order: OrderKeys,
    progress: Progress,
    owed: Owed,
    rate: u32,
    /// Whose it is; `None` while the subscription is gone.
    tenant: Option<TenantId>,
    /// Why everything in it is abandoned.
    gone: Option<&'static str>,
}

impl Lane {
    pub(in crate::dispatch) fn new(id: SubscriptionId, ordering: Ordering) -> Self {
        Self {
            items: LaneItems::new(id),
            order: OrderKeys::new(ordering),
            progress: Progress::default(),
            owed: Owed::default(),
            rate: 0,
            tenant: None,
            gone: None,
        }
    }
    pub(in crate::dispatch) fn items(&self) -> &LaneItems {
        &self.items
    }
    pub(in crate::dispatch) fn owed(&self) -> &Owed {
        &self.owed
    }
    pub(in crate::dispatch) fn progress(&self) -> &Progress {
        &self.progress
    }
    pub(in crate::dispatch) fn rate(&self) -> u32 {
        self.rate
    }
    pub(in crate::dispatch) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// The subscription as it is now. What was there is read again if it must be ordered anew, or is another tenant's.
    pub(in crate::dispatch) fn open(&mut self, lead: Lead, ordering: Ordering, rate: u32, out: Out<'_>) {
        let was_gone = self.gone.take().is_some();
        let changed_hands = self.tenant.as_ref().is_some_and(|tenant| *tenant != lead.tenant);
        self.rate = rate;
        if self.order.ordering() != ordering || was_gone || changed_hands {
            self.reset(ordering, out);
        }
        if self.items.endpoint() != Some(lead.endpoint) {
            self.items.lead_to(Some(lead.endpoint), out);
        }
        self.tenant = Some(lead.tenant);
    }

    /// The subscription is gone: what is idle is read again, with all the rest in the store, and given up as it is read.
    pub(in crate::dispatch) fn close(&mut self, reason: &'static str, out: Out<'_>) {
        self.gone = Some(reason);
        self.tenant = None;
        self.reset(self.order.ordering(), out);
        self.items.lead_to(None, out);
    }

    /// Forgets what is idle, to be read from the store again; what is under way keeps its key (under the new ordering).
    fn reset(&mut self, ordering: Ordering, out: Out<'_>) {
        let Self { items, order, .. } = self;
        order.reset(ordering);
        items.drop_idle(|pending| order.keep(pending), out);
        self.progress.restart();
    }

    /// A delivery that has become pending; `room`: it may be held.
    pub(in crate::dispatch) fn offer(
        &mut self,
        pending: Pending,
        room: bool,
        at: Moment,
        out: Out<'_>,
    ) -> Offered {
        let seq = pending.seq;
        let early = self.progress.was_early(seq);
        let over = self.items.is_over(seq) || (early && !self.items.has(seq));
        if !over {
            self.owed.saw(seq);
        }
        if early || self.progress.has_seen(seq) || self.progress.has_more() {
            return Offered::Left;
        }
        if !room {
            self.progress.set_more(true);
            return Offered::Left;
        }
        self.progress.read_to(seq);
        self.admit(pending, at, out);
        Offered::Taken
    }

    /// The store holds more than was offered. True: it is to be counted.
    pub(in crate::dispatch) fn has_backlog(&mut self) -> bool {
        self.progress.set_more(true);
        self.owed.begin_scan()
    }

    /// A page after the cursor, and whether there may be more.
    pub(in crate::dispatch) fn filled(&mut self, page: Vec<Pending>, more: bool, at: Moment, out: Out<'_>) {
        self.progress.set_more(more);
        for pending in page {
            self.progress.read_to(pending.seq);
            if !self.items.is_over(pending.seq) {
                self.owed.saw(pending.seq);
            }
            self.admit(pending, at, out);
        }
    }

    /// The first of an order key, or that there is none.
    pub(in crate::dispatch) fn first(
        &mut self,
        order: u64,
        found: Option<Pending>,
        at: Moment,
        out: Out<'_>,
    ) {
        // legal: the lane has been reset meanwhile
        if !self.order.waits_for_first(order) {
            return;
        }
        let Some(pending) = found else {
            self.order.forget(order);
            return;
        };
        // Decided, but not yet durable: asked again when it is.
        if self.items.has(pending.seq) {
            return;
        }
        let seq = pending.seq;
        self.order.open_for_first(order);
        self.admit(pending, at, out);
        self.progress.read_early(seq);
        self.order.expect_more(order);
    }

    /// A page of the count. True: it goes on.
    pub(in crate::dispatch) fn counted(&mut self, page: &[Pending], end: bool) -> bool {
        let owed = page.iter().filter(|pending| !self.items.is_over(pending.seq)).count();
        self.owed.counted(owed as u64, page.last().map(|pending| pending.seq), end, self.progress.seen())
    }

    /// Takes a delivery into memory, if it is not there and its key has room.
    fn admit(&mut self, pending: Pending, at: Moment, out: Out<'_>) {
        let seq = pending.seq;
        if self.items.has(seq) {
            return;
        }
        let order = self.order.order_of(&pending);
        let expired = at.has_come(at.expires(&pending)).then_some(EXPIRED);
        if let Some(reason) = self.void(&pending).or(expired) {
            self.items.insert(pending, order, at, out);
            self.give_up(seq, reason, out);
            return;
        }
        let admission = self.order.enter(order, seq);
        if admission != Admission::Left {
            self.items.insert(pending, order, at, out);
        }
        if admission == Admission::Head {
            self.arm(seq, at, out);
        }
    }

    /// Why nothing in this lane may be sent, or not this delivery: it was committed before the subscription changed hands.
    fn void(&self, pending: &Pending) -> Option<&'static str> {
        let anothers = self.tenant.as_ref().is_some_and(|tenant| *tenant != pending.key.tenant);
        self.gone.or(anothers.then_some(ANOTHERS))
    }

    /// A delivery whose turn it is waits until it is due, or is ready.
    fn arm(&mut self, seq: Seq, at: Moment, out: Out<'_>) {
        if let Some(due) = self.items.get(seq).map(|item| at.due(&item.pending)) {
            self.wait_until(seq, due, at, out);
        }
    }

    fn wait_until(&mut self, seq: Seq, due: i64, at: Moment, out: Out<'_>) {
        let state = if at.has_come(due) { TicketState::Ready(due) } else { TicketState::Waiting(due) };
        self.items.set_state(seq, state, out);
    }

    /// Gives an idle delivery up.
    pub(in crate::dispatch) fn give_up(&mut self, seq: Seq, reason: &'static str, out: Out<'_>) {
        self.items.set_state(seq, TicketState::Settling(Ending::Final), out);
        self.items.unwatch(seq, out);
        self.owed.ended(seq);
        if let Some(item) = self.items.get(seq) {
            let key = item.pending.key.clone();
            out.push(Message::GiveUp(GivenUp { ticket: self.items.ticket(seq), key, reason }));
        }
    }

    /// Its timer has come: it is due.
    pub(in crate::dispatch) fn due(&mut self, seq: Seq, at: i64, out: Out<'_>) {
        self.items.due(seq, at, out);
    }

    /// Its timer has come: it is too old. What is on its way may still arrive; it is asked when it is back.
    pub(in crate::dispatch) fn expired(&mut self, seq: Seq, out: Out<'_>) {
        if self.items.expired(seq) {
            self.give_up(seq, EXPIRED, out);
        }
    }

    /// An attempt begins: what was ready is in flight.
    pub(in crate::dispatch) fn begin(&mut self, seq: Seq, out: Out<'_>) -> Option<Pending> {
        self.items.set_state(seq, TicketState::InFlight, out);
        self.items.get(seq).map(|item| item.pending.clone())
    }

    /// An attempt has ended.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq, end: AttemptEnd, out: Out<'_>) {
        self.items.attempted(seq, end.counted, end.retry.map(|(at, _)| at));
        let ending = end.retry.map_or(Ending::Final, |(_, due)| Ending::Retry(due));
        self.items.set_state(seq, TicketState::Settling(ending), out);
        if ending == Ending::Final {
            self.owed.ended(seq);
        }
    }

    /// What was decided about a delivery is durable: only now its key goes on, or its retry is planned. Gives the order key
    /// whose first must be read.
    pub(in crate::dispatch) fn settled(&mut self, seq: Seq, at: Moment, out: Out<'_>) -> Option<u64> {
        let state = self.items.get(seq).map(|item| item.state);
        match state {
            Some(TicketState::Settling(Ending::Final)) => self.drop_ended(seq, at, out),
            Some(TicketState::Settling(Ending::Retry(due))) => {
                self.resume(seq, due, at, out);
                None
            }
            _ => {
                debug_assert!(
                    false,
                    "{:?} is durable, and nothing was decided: {state:?}",
                    self.items.ticket(seq)
                );
                None
            }
        }
    }

    fn drop_ended(&mut self, seq: Seq, at: Moment, out: Out<'_>) -> Option<u64> {
        let order = self.items.remove(seq, out);
        match self.order.leave(order, seq) {
            Successor::Next(next) => {
                if self.items.get(next).is_some_and(|item| item.state == TicketState::Queued) {
                    self.arm(next, at, out);
                }
                None
            }
            Successor::Read(order) => Some(order),
            Successor::Nobody => None,
        }
    }

    /// A delivery that was on its way waits again, unless it has become void meanwhile.
    pub(in crate::dispatch) fn resume(&mut self, seq: Seq, due: i64, at: Moment, out: Out<'_>) {
        let item = self.items.get(seq);
        let void = item.and_then(|item| self.void(&item.pending));
        let expired = self.items.has_expired(seq, at).then_some(EXPIRED);
        // several of one key may have been on their way if the lane was ordered anew meanwhile: now they go in order
        let head = self.order.is_head(item.and_then(|item| item.order), seq);
        match void.or(expired) {
            Some(reason) => self.give_up(seq, reason, out),
            None if head => self.wait_until(seq, due, at, out),
            None => self.items.set_state(seq, TicketState::Queued, out),
        }
    }
}

#[cfg(any(test, debug_assertions))]
impl Lane {
    pub(in crate::dispatch) fn check(&self) {
        self.items.check();
        for (order, seq, front) in self.order.queued() {
            let item = self.items.get(seq);
            assert!(
                item.is_some_and(|item| item.order == Some(order)),
                "{:?} in queue {order}",
                self.items.ticket(seq)
            );
            // a head that is queued waits for nobody, and what is no head must not go
            let idle = item.map(|item| item.state).filter(|state| state.is_idle());
            let queued = idle.map(|state| state == TicketState::Queued);
            assert!(queued.is_none_or(|queued| queued != front), "{seq:?} of {order} is {idle:?}");
        }
        assert_eq!(self.gone.is_some(), self.tenant.is_none(), "{:?}", self.items);
    }
}

#[cfg(test)]
pub(in crate::dispatch) mod tests;
