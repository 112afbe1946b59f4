//! What befalls the simulated slot: made, dropped, advanced, lost; which stretches of the WAL are followed; and whether
//! anybody allowed a new one. What a sidecar must never do to it is a violation here.
use crate::erp::Span;
use crate::plan::Kind;
use crate::postgres::{Server, Slot, State};

/// The slot's past.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Slots {
    /// What was followed; the last one may be under way.
    spans: Vec<Span>,
    /// The last one has been streamed.
    started: bool,
    /// Others have laid hands on it since it was last streamed.
    wronged: bool,
    /// Its WAL is gone.
    lost: bool,
    /// An operator has accepted the gap that begins here.
    accepted: Option<u64>,
    /// Nobody meddles any more: there will be no operator.
    left_alone: bool,
}

impl Server {
    /// The stretches of WAL whose events are owed.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.lock().unwrap().slots.spans.clone()
    }
    pub(crate) fn is_wronged(&self) -> bool {
        self.state.lock().unwrap().slots.wronged
    }
    pub(crate) fn is_lost(&self) -> bool {
        self.state.lock().unwrap().slots.lost
    }
    /// The gap that begins at `from` may be passed: a new slot may be made.
    pub(crate) fn accept(&self, from: u64) {
        self.state.lock().unwrap().slots.accepted = Some(from);
    }
    pub(crate) fn leave_slot_alone(&self) {
        self.state.lock().unwrap().slots.left_alone = true;
    }
    /// Is an acceptance not yet used?
    pub(crate) fn is_accepted(&self) -> bool {
        self.state.lock().unwrap().slots.accepted.is_some()
    }

    pub(crate) fn make_slot(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        let from = self.end_of_wal(&state);
        self.close(&mut state, "made anew");
        state.slot = Some(Slot::at(from));
        state.confirmed_ever = 0;
        let Slots { spans, left_alone, .. } = std::mem::take(&mut state.slots);
        state.slots = Slots { spans, left_alone, ..Slots::default() };
        state.slots.spans.push(Span::from(from));
        self.world.note(|| format!("slot made at {from:x}"));
        from
    }

    pub(crate) fn drop_slot(&self) {
        let mut state = self.state.lock().unwrap();
        self.close(&mut state, "dropped");
        state.slot = None;
        self.world.note(|| "slot dropped".to_owned());
    }

    /// What was followed ends here: by an operator's word, or nothing of it was streamed yet.
    fn close(&self, state: &mut State, what: &str) {
        let Slots { spans, started, accepted, .. } = &mut state.slots;
        if !*started {
            if spans.last().is_some_and(|span| span.to == u64::MAX) {
                spans.pop();
            }
            return;
        }
        match (accepted.take(), spans.last_mut()) {
            (Some(at), Some(span)) => span.to = at,
            _ => self.world.violated(format!("the slot is {what} although nobody accepted a gap")),
        }
        *started = false;
        state.confirmed_ever = 0;
    }

    /// `START_REPLICATION`. Postgres would silently begin where the slot stands.
    pub(crate) fn streams(&self, from: u64) {
        let mut state = self.state.lock().unwrap();
        if let Some(slot) = state.slot.filter(|slot| slot.confirmed > from) {
            let at = slot.confirmed;
            self.world.violated(format!(
                "streaming from {from:x}, but the slot stands at {at:x}: changes are skipped"
            ));
        }
        state.slots.started = true;
        state.slots.wronged = false;
        state.streaming = true;
    }

    /// While nobody streams, others lay hands on the slot.
    pub(crate) fn meddle(&self) {
        let mut state = self.state.lock().unwrap();
        if !state.slots.started || !self.world.strikes(Kind::Slot, &self.rng, 60) {
            return;
        }
        let end = self.end_of_wal(&state);
        let Some(slot) = &mut state.slot else { return };
        match self.rng.below(4) {
            0 => state.slot = None,
            1 => (slot.confirmed, slot.on_disk) = (end, end),
            2 => *slot = Slot::at(end),
            _ => return self.lose_slot(&mut state),
        }
        state.slots.wronged = true;
        let now = state.slot;
        self.world.note(|| format!("somebody meddles with the slot: {now:x?}"));
    }

    pub(crate) fn lose_slot(&self, state: &mut State) {
        if state.slots.started && !state.slots.left_alone {
            state.slots.lost = true;
            state.slots.wronged = true;
            self.world.note(|| "the slot has lost its WAL".to_owned());
        }
    }
}
