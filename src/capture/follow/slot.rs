//! Purpose: may we stream, and from where? What we remember against what stands on the server (SPEC 5.7). Must not: wait, or let a
//! slot be made anew where something was followed before: that is a gap.
use crate::capture::{SlotState, Survey};
use crate::domain::Lsn;
use crate::fault;
use crate::store::Identity;
use std::fmt;

/// What the data folder remembers.
#[derive(Debug, Clone, Copy)]
pub enum KnownHistory<'a> {
    /// Nothing: a new folder.
    Empty,
    /// The first snapshot began and was not completed.
    Filling(&'a Identity),
    /// A history is followed up to a position.
    Following(&'a Identity, Lsn),
}

/// What the configuration says of a history that is to begin. The survey says the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityTemplate {
    /// `database.slot`
    pub slot: String,
    /// `database.publication`
    pub publication: String,
    /// Random: tells this history from every other.
    pub epoch: [u8; 16],
}

impl IdentityTemplate {
    /// The history that begins on this server with this memory (`Plan::text`).
    pub fn complete(&self, survey: &Survey, shadow_plan: String) -> Identity {
        Identity {
            system_id: survey.system_id.clone(),
            timeline: survey.timeline,
            database: survey.database.clone(),
            slot: self.slot.clone(),
            publication: self.publication.clone(),
            epoch: self.epoch,
            shadow_plan,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stream from our position.
    Start {
        /// The journal's position.
        from: Lsn,
    },
    /// Nothing was ever followed and there is no slot: make it and take the first snapshot.
    FirstStart,
    /// The first snapshot was interrupted: drop the slot and begin again.
    Refill,
    /// Another process streams from the slot.
    Wait {
        /// Its process id on the server.
        pid: i32,
    },
    /// A stretch of history is missing: nothing is streamed until it is accepted.
    Gap(Gap),
}

/// A stretch of WAL that can no longer be read, or a history that is not the one we followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: Lsn,
    /// Where it ends.
    pub to: Lsn,
    /// Which end moves on while the gap stands.
    moving: Moving,
    /// One line for people, without the range.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    Neither,
    /// It begins at the server's end of WAL.
    From,
    /// It ends at the server's end of WAL.
    To,
}

impl Gap {
    /// Does `--accept-gap=FROM-TO` name this gap? An end that stands at the server's end of WAL moves on after the gap
    /// was reported, so there a position that the WAL has passed since is taken too.
    pub fn is_accepted_by(&self, range: &str) -> bool {
        let Some((from, to)) = range.split_once('-') else { return false };
        let (Ok(from), Ok(to)) = (from.trim().parse::<Lsn>(), to.trim().parse::<Lsn>()) else { return false };
        match self.moving {
            Moving::Neither => (from, to) == (self.from, self.to),
            Moving::From => to == self.to && from <= self.from,
            Moving::To => from == self.from && (self.from <= to && to <= self.to || to == self.to),
        }
    }
}

/// `FROM-TO`, as `--accept-gap` takes it.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// Judges. `slot` is the configured slot's name.
pub fn judge(slot: &str, memory: KnownHistory<'_>, survey: &Survey) -> Verdict {
    match memory {
        KnownHistory::Empty => match &survey.slot {
            None => Verdict::FirstStart,
            Some(state) => beside_a_slot(slot, state, survey, "the data folder is empty"),
        },
        KnownHistory::Filling(identity) => filling(slot, identity, survey),
        KnownHistory::Following(identity, position) => following(slot, identity, position, survey),
    }
}

fn beside_a_slot(slot: &str, state: &SlotState, survey: &Survey, why: &str) -> Verdict {
    let reason =
        format!("{why}, but slot \"{slot}\" exists: what it has confirmed was followed by another folder");
    Verdict::Gap(Gap { from: state.confirmed, to: survey.wal_end, moving: Moving::To, reason })
}

fn filling(slot: &str, identity: &Identity, survey: &Survey) -> Verdict {
    let Some(state) = &survey.slot else { return Verdict::FirstStart };
    let ours = identity.slot == slot
        && identity.system_id == survey.system_id
        && identity.database == survey.database
        && state.database == survey.database
        && state.plugin == "pgoutput";
    if !ours {
        return beside_a_slot(slot, state, survey, "the first snapshot was begun with another slot");
    }
    state.active_pid.map_or(Verdict::Refill, |pid| Verdict::Wait { pid })
}

fn following(slot: &str, identity: &Identity, position: Lsn, survey: &Survey) -> Verdict {
    let to_the_end =
        |reason| Verdict::Gap(Gap { from: position, to: survey.wal_end, moving: Moving::To, reason });
    if let Some(reason) = another_history(slot, identity, survey) {
        return to_the_end(reason);
    }
    if identity.epoch == Identity::LOST {
        return to_the_end(
            "frames of the journal were damaged, and `store verify --salvage` left them out".to_owned(),
        );
    }
    if let Some(gap) = another_timeline(identity.timeline, position, survey) {
        return Verdict::Gap(gap);
    }
    if survey.wal_end < position {
        let reason = "the server's WAL ends before our position: an older copy of it was restored, and the webhooks of \
                      what is missing were sent"
            .to_owned();
        return Verdict::Gap(Gap { from: survey.wal_end, to: position, moving: Moving::From, reason });
    }
    let state = match &survey.slot {
        Some(state) => state,
        None if fault::planted("slot-made-anew") => return Verdict::FirstStart,
        None => return to_the_end(format!("slot \"{slot}\" does not exist any more")),
    };
    if let Some(reason) = another_slot(slot, identity, state) {
        return to_the_end(reason);
    }
    if state.confirmed > position && !fault::planted("gap-not-seen") {
        let reason = format!(
            "slot \"{slot}\" was advanced by somebody else, or dropped and made anew: the WAL before {} is gone",
            state.confirmed
        );
        return Verdict::Gap(Gap { from: position, to: state.confirmed, moving: Moving::Neither, reason });
    }
    if let Some(reason) = &survey.unreadable {
        return to_the_end(reason.clone());
    }
    let from = if fault::planted("start-at-the-end") { survey.wal_end } else { position };
    state.active_pid.map_or(Verdict::Start { from }, |pid| Verdict::Wait { pid })
}

fn another_history(slot: &str, identity: &Identity, survey: &Survey) -> Option<String> {
    if identity.system_id != survey.system_id {
        Some(format!(
            "this is another cluster: system identifier {}, we followed {}",
            survey.system_id, identity.system_id
        ))
    } else if identity.database != survey.database {
        Some(format!("this is database \"{}\", we followed \"{}\"", survey.database, identity.database))
    } else if identity.slot != slot {
        Some(format!("database.slot is \"{slot}\", we followed \"{}\"", identity.slot))
    } else {
        None
    }
}

fn another_slot(slot: &str, identity: &Identity, state: &SlotState) -> Option<String> {
    if state.plugin != "pgoutput" {
        Some(format!("slot \"{slot}\" is not ours: its plugin is {}", state.plugin))
    } else if state.database != identity.database {
        Some(format!("slot \"{slot}\" is not ours: it belongs to database \"{}\"", state.database))
    } else if state.restart.is_none() || state.wal_status == "lost" {
        Some(format!(
            "slot \"{slot}\" has lost its WAL (wal_status {}): max_slot_wal_keep_size was exceeded",
            state.wal_status
        ))
    } else {
        None
    }
}

/// After a promotion the history goes on only if the old timeline was left at or after our position.
fn another_timeline(ours: u32, position: Lsn, survey: &Survey) -> Option<Gap> {
    if ours == survey.timeline {
        return None;
    }
    let (to, moving, reason) = match survey.history.iter().find(|(timeline, _)| *timeline == ours) {
        Some((_, fork)) if *fork >= position => return None,
        Some((_, fork)) => {
            let reason = format!(
                "timeline {} left ours ({ours}) at {fork}, before our position: the webhooks of what was undone were sent",
                survey.timeline
            );
            return Some(Gap { from: *fork, to: position, moving: Moving::Neither, reason });
        }
        None => (
            survey.wal_end,
            Moving::To,
            format!(
                "the server is on timeline {}, which does not descend from ours ({ours})",
                survey.timeline
            ),
        ),
    };
    Some(Gap { from: position, to, moving, reason })
}

#[cfg(test)]
mod tests;
