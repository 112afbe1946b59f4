//! Purpose: one subscription's deliveries, from the offer to the end (SPEC 5.4), pure. Must not: depend on other lanes, or on what its
//! endpoint may do now.
//!
//! A lane holds what can be attempted and little of what cannot: of each order key the head and a few followers; the rest
//! stays in the store and is read again when its turn comes.
use crate::dispatch::backlog::items::{AttemptEnd, Ending, LaneItems, Out, TicketState};
use crate::dispatch::backlog::order::{Admission, OrderKeys, Successor};
use crate::dispatch::backlog::owed::Owed;
use crate::dispatch::backlog::progress::LaneProgress;
use crate::dispatch::backlog::refill::{Offered, ReadNumber, Want};
use crate::dispatch::backlog::under_way::LaneReads;
use crate::dispatch::backlog::waits::Moment;
use crate::dispatch::message::{GivenUp, OwnerMessage};
use crate::dispatch::parcel::ParcelMember;
use crate::dispatch::ticket::Lead;
use crate::domain::{Ordering, Pending, Seq, SubscriptionId, TenantId};

/// Why a delivery is given up whose subscription has changed its tenant.
const ANOTHERS: &str = "the subscription belongs to another tenant now";
/// Why an old delivery is given up.
const EXPIRED: &str = "expired: older than delivery.expire_after";

/// One subscription's lane. What concerns others is said in `out`.
#[derive(Debug)]
pub(in crate::dispatch) struct Lane {
    items: LaneItems,
    order: OrderKeys,
    progress: LaneProgress,
    owed: Owed,
    reads: LaneReads,
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
            progress: LaneProgress::default(),
            owed: Owed::default(),
            reads: LaneReads::default(),
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
    pub(in crate::dispatch) fn progress(&self) -> &LaneProgress {
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
        self.reads.reset();
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
        if over || self.progress.has_seen(seq) {
            return Offered::Left;
        }
        self.owed.saw(seq);
        if early {
            return Offered::Left;
        }
        if self.progress.has_more() {
            self.reads.left(seq);
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
        self.reads.left_unknown();
        self.owed.begin_scan()
    }

    /// Does it want to be read, if it has room for so many?
    pub(in crate::dispatch) fn wants_read(&self, room: Option<usize>) -> bool {
        self.reads.wants(room)
    }
    /// Begins its next read.
    pub(in crate::dispatch) fn begin_read(
        &mut self,
        number: ReadNumber,
        room: Option<usize>,
    ) -> Option<Want> {
        self.reads.begin(number, self.progress.cursor(), room)
    }
    /// Begins the next page of its count.
    pub(in crate::dispatch) fn begin_count(&mut self, number: ReadNumber, limit: usize) -> Want {
        let after = self.owed.begin_read();
        self.reads.begin_count(number, after);
        Want::Count { after, limit }
    }
    /// The answer to a read. True: the count goes on.
    pub(in crate::dispatch) fn answered(
        &mut self,
        (number, want): (ReadNumber, Want),
        found: Vec<Pending>,
        at: Moment,
        out: Out<'_>,
    ) -> bool {
        let mut counting = false;
        match want {
            Want::Page { limit, .. } => {
                let full = found.len() >= limit;
                self.filled(number, found, full, at, out);
            }
            Want::First { order } => self.first(number, order, found.into_iter().next(), at, out),
            Want::Count { limit, .. } => counting = self.counted(number, &found, found.len() < limit),
        }
        self.reads.forget_ended();
        counting
    }
    /// A read has failed: what is still wanted is wanted again.
    pub(in crate::dispatch) fn not_read(&mut self, number: ReadNumber, want: Want) {
        match want {
            Want::Page { .. } => _ = self.reads.end_page(number),
            Want::First { order } => {
                if self.reads.end_first(number, order).is_some() {
                    self.reads.want_first(order);
                }
            }
            Want::Count { .. } => {
                self.reads.end_count(number);
                self.owed.not_read();
            }
        }
        self.reads.forget_ended();
    }

    /// A page after the cursor; full: there may be more. What ended since it was read is over, and there is more if something was
    /// left in the store since.
    fn filled(&mut self, number: ReadNumber, page: Vec<Pending>, full: bool, at: Moment, out: Out<'_>) {
        // legal: the lane was reset since it began, and is read anew
        let Some(read) = self.reads.end_page(number) else { return };
        let last = page.last().map(|pending| pending.seq).max(read.after);
        self.progress.set_more(full || read.again || read.left > last);
        for pending in page {
            if self.reads.has_ended(pending.seq) {
                self.progress.pass(pending.seq);
                continue;
            }
            self.progress.read_to(pending.seq);
            if !self.items.is_over(pending.seq) {
                self.owed.saw(pending.seq);
            }
            self.admit(pending, at, out);
        }
    }

    /// The first of an order key, or that there is none.
    fn first(&mut self, number: ReadNumber, order: u64, found: Option<Pending>, at: Moment, out: Out<'_>) {
        // legal: the lane was reset since it began, and is read anew
        let Some(again) = self.reads.end_first(number, order) else { return };
        debug_assert!(self.order.waits_for_first(order), "order key {order} does not wait");
        match found {
            // it ended since, or others were left in the store since
            Some(pending) if self.reads.has_ended(pending.seq) => self.reads.want_first(order),
            None if again => self.reads.want_first(order),
            None => self.order.forget(order),
            // Decided, but not yet durable: asked again when it is.
            Some(pending) if self.items.has(pending.seq) => {}
            Some(pending) => {
                let seq = pending.seq;
                self.order.open_for_first(order);
                self.admit(pending, at, out);
                self.progress.read_early(seq);
                self.order.expect_more(order);
            }
        }
    }

    /// A page of the count. True: it goes on.
    fn counted(&mut self, number: ReadNumber, page: &[Pending], end: bool) -> bool {
        self.reads.end_count(number);
        let over = |seq| self.items.is_over(seq) || self.reads.has_ended(seq);
        let owed = page.iter().filter(|pending| !over(pending.seq)).count();
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
        if admission == Admission::Left {
            self.reads.left_behind(order);
            return;
        }
        self.items.insert(pending, order, at, out);
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
        let due = self.items.get(seq).map_or(i64::MIN, |item| at.due(&item.pending));
        self.wait_until(seq, due, at, out);
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
            out.push(OwnerMessage::GiveUp(GivenUp { ticket: self.items.ticket(seq), key, reason }));
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

    /// An attempt begins: what was ready, and its endpoint has taken, is in flight.
    pub(in crate::dispatch) fn begin(&mut self, seq: Seq, out: Out<'_>) -> Option<ParcelMember> {
        self.items.begin(seq, out)
    }

    /// An attempt has ended.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq, end: AttemptEnd, out: Out<'_>) {
        self.items.attempted(seq, end, out);
        if end.retry.is_none() {
            self.owed.ended(seq);
        }
    }

    /// What was decided about a delivery is durable: only now its key goes on, or its retry is planned.
    pub(in crate::dispatch) fn settled(&mut self, seq: Seq, at: Moment, out: Out<'_>) {
        let state = self.items.get(seq).map(|item| item.state);
        match state {
            Some(TicketState::Settling(Ending::Final)) => self.drop_ended(seq, at, out),
            Some(TicketState::Settling(Ending::Retry(due))) => self.resume(seq, due, at, out),
            _ => {
                debug_assert!(false, "{:?} is durable, but is {state:?}", self.items.ticket(seq));
            }
        }
    }

    fn drop_ended(&mut self, seq: Seq, at: Moment, out: Out<'_>) {
        let order = self.items.remove(seq, out);
        self.reads.ended(seq, order);
        match self.order.leave(order, seq) {
            Successor::Next(next) => {
                if self.items.get(next).is_some_and(|item| item.state == TicketState::Queued) {
                    self.arm(next, at, out);
                }
            }
            Successor::Read(order) => self.reads.want_first(order),
            Successor::Nobody => {}
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
    /// What it remembers for reads that are under way.
    #[cfg(test)]
    pub(in crate::dispatch) fn remembered(&self) -> usize {
        self.reads.remembered()
    }
    pub(in crate::dispatch) fn is_hungry(&self) -> bool {
        self.progress.has_more() && self.items.len() == 0 && !self.reads.has_page()
    }
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
        let asked = self.reads.firsts();
        for order in self.order.waiting() {
            let decided = self.items.iter().any(|(_, item)| item.order == Some(order));
            assert!(decided || asked.contains(&order), "nothing will read the first of {order}");
        }
        assert_eq!(self.gone.is_some(), self.tenant.is_none(), "{:?}", self.items);
    }
}

#[cfg(test)]
pub(in crate::dispatch) mod tests;
