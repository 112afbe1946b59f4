//! Purpose: what dispatch has to make durable: outcomes and abandonments, in batches, pipelined. Must not: depend on the scheduler.
//!
//! A commit waits for fdatasync; attempts do not wait for a commit. A few are on their way at once, what comes
//! meanwhile is gathered for the next. What the store cannot take stays here until it can.
use crate::dispatch::ticket::Ticket;
use crate::domain::{KeepingError, Settled};
use crate::fault;
use crate::store::Outbox;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Commits on their way at once.
const PIPELINE: usize = 4;
/// Under load outcomes are gathered this long, so that they share an fdatasync; the first after a pause goes at once.
const GATHER: Duration = Duration::from_millis(5);
/// Outcomes in one commit.
const BATCH: usize = 512;

/// What becomes durable together, and the deliveries that it settles: one, or those of a parcel.
type Settlement = (Vec<Settled>, Vec<Ticket>);

struct Commit {
    entries: Vec<Settlement>,
    result: Result<(), KeepingError>,
}

/// Gathered outcomes and commits on their way.
pub(in crate::dispatch) struct Ledger {
    outbox: Outbox,
    gathered: Vec<Settlement>,
    commits: JoinSet<Commit>,
    blocked: bool,
    /// The store says when it takes something again; else it is tried after a pause.
    refused: bool,
    /// When the newest commit was sent off.
    sent: Option<Instant>,
}

impl Ledger {
    pub(in crate::dispatch) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            gathered: Vec::new(),
            commits: JoinSet::new(),
            blocked: false,
            refused: false,
            sent: None,
        }
    }
    /// Gathers outcomes that become durable together; their tickets come back from `finished` when they are.
    pub(in crate::dispatch) fn add(&mut self, settled: Vec<Settled>, tickets: Vec<Ticket>) {
        self.gathered.push((settled, tickets));
    }
    /// The store takes nothing.
    pub(in crate::dispatch) fn is_blocked(&self) -> bool {
        self.blocked
    }
    /// It takes nothing and is not writable: the store tells when it is.
    pub(in crate::dispatch) fn is_refused(&self) -> bool {
        self.blocked && self.refused
    }
    /// Nothing gathered and nothing on its way.
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.commits.is_empty()
    }
    pub(in crate::dispatch) fn has_commits(&self) -> bool {
        !self.commits.is_empty()
    }
    /// Try again: the store may take something now.
    pub(in crate::dispatch) fn unblock(&mut self) {
        self.blocked = false;
    }
    /// When what is gathered may be sent off; `None`: nothing is gathered, or there is no room.
    pub(in crate::dispatch) fn due(&self) -> Option<Instant> {
        let waits = !self.blocked && !self.gathered.is_empty() && self.commits.len() < PIPELINE;
        waits.then(|| self.sent.map_or_else(Instant::now, |sent| sent + GATHER))
    }
    /// Sends off what has been gathered long enough, or is many.
    pub(in crate::dispatch) fn flush_due(&mut self) {
        if self.gathered.len() >= BATCH || self.due().is_some_and(|due| due <= Instant::now()) {
            self.flush();
        }
    }
    /// Sends off what is gathered, as far as the pipeline has room.
    pub(in crate::dispatch) fn flush(&mut self) {
        while !self.blocked && !self.gathered.is_empty() && self.commits.len() < PIPELINE {
            let rest = self.gathered.split_off(self.gathered.len().min(BATCH));
            let entries = std::mem::replace(&mut self.gathered, rest);
            self.sent = Some(Instant::now());
            let outbox = self.outbox.clone();
            let settled = entries.iter().flat_map(|(settled, _)| settled.clone()).collect();
            self.commits.spawn(async move {
                fault::crash_point("dispatch.before-commit");
                let result = outbox.settle(settled).await;
                fault::crash_point("dispatch.committed");
                Commit { entries, result }
            });
        }
    }
    /// Waits for a commit; gives the tickets that are durable now. Cancel-safe.
    pub(in crate::dispatch) async fn finished(&mut self) -> Result<Vec<Ticket>, KeepingError> {
        match self.commits.join_next().await {
            Some(Ok(commit)) => self.close(commit),
            Some(Err(e)) => Err(KeepingError::Refused(format!("a commit did not end: {e}"))),
            None => Ok(Vec::new()),
        }
    }
    /// The same, without waiting.
    pub(in crate::dispatch) fn finished_now(&mut self) -> Result<Vec<Ticket>, KeepingError> {
        match self.commits.try_join_next() {
            Some(Ok(commit)) => self.close(commit),
            Some(Err(e)) => Err(KeepingError::Refused(format!("a commit did not end: {e}"))),
            None => Ok(Vec::new()),
        }
    }

    fn close(&mut self, commit: Commit) -> Result<Vec<Ticket>, KeepingError> {
        match commit.result {
            Ok(()) => Ok(commit.entries.into_iter().flat_map(|(_, tickets)| tickets).collect()),
            Err(error @ (KeepingError::Refused(_) | KeepingError::Failed(_))) => {
                if !self.blocked {
                    tracing::warn!(%error, "outcomes wait in memory until the store takes them");
                }
                self.blocked = true;
                self.refused = matches!(error, KeepingError::Refused(_));
                self.gathered.splice(0..0, commit.entries);
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
