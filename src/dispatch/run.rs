//! Purpose: the thin loop around the scheduler: store in, attempts out, outcomes back. Must not: decide anything itself.
use crate::clock::SharedClock;
use crate::dispatch::attempt::{Attempted, Attempting};
use crate::dispatch::backlog::refill::Want;
use crate::dispatch::ledger::Ledger;
use crate::dispatch::now::Now;
use crate::dispatch::roll::Review;
use crate::dispatch::scheduler::Job;
use crate::dispatch::status::{DispatchStatus, Observer};
use crate::dispatch::{Offered, Scheduler};
use crate::domain::{EventName, Pending};
use crate::egress::Transport;
use crate::fault;
use crate::registry::{Routing, seal::Sealer};
use crate::settings::DispatchSettings;
use crate::store::{Record, Store, StoreError};
use crate::telemetry::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// How long attempts may take to end after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// And their commits after that.
const SETTLE: Duration = Duration::from_millis(800);
/// When a store that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Reads of the store in one turn: the loop must not be held up.
const READS: usize = 8;

/// What dispatch works with.
pub struct DispatchParts<T, J> {
    /// Deliveries and their bodies.
    pub store: Store,
    /// The way out.
    pub transport: T,
    /// The subscriptions, as of the last durable commit.
    pub routing: watch::Receiver<Arc<Routing>>,
    /// Opens secrets.
    pub sealer: Sealer,
    /// Wall time.
    pub clock: SharedClock,
    /// `[delivery]`.
    pub settings: DispatchSettings,
    /// Counters.
    pub metrics: Metrics,
    /// Event names of the mapping; all others are labelled `other`.
    pub names: watch::Receiver<Arc<BTreeSet<EventName>>>,
    /// Written here, read by health and metrics.
    pub status: DispatchStatus,
    /// Random numbers in [0, 1).
    pub jitter: J,
}

/// Delivers what is pending until `shutdown` is true (or its sender is gone); then starts nothing, lets what is in
/// flight end for five seconds, and makes the outcomes durable. What was not is pending again at the next start.
/// Fails only if the store is damaged or closed under it.
pub async fn run<T, J>(parts: DispatchParts<T, J>, shutdown: watch::Receiver<bool>) -> Result<(), StoreError>
where
    T: Transport,
    J: FnMut() -> f64 + Send,
{
    Dispatch::new(parts, shutdown).run().await
}

/// Attempts under way: the job, and when it began (Unix milliseconds).
type Jobs = BTreeMap<task::Id, (Job, i64)>;

pub(in crate::dispatch) struct Dispatch<T, J> {
    pub(in crate::dispatch) parts: DispatchParts<T, J>,
    pub(in crate::dispatch) scheduler: Scheduler,
    ledger: Ledger,
    observer: Observer,
    attempts: JoinSet<Attempted>,
    jobs: Jobs,
    shutdown: watch::Receiver<bool>,
    started: Instant,
    /// Lanes are to be listed (again).
    pub(in crate::dispatch) list_lanes: bool,
    pub(in crate::dispatch) review: Review,
    /// Somebody still publishes the routing.
    routed: bool,
    /// The routing that lanes were last reviewed by.
    reviewed: Arc<Routing>,
    /// The store failed: nothing is read, nothing committed before.
    again: Option<Instant>,
}

impl<T: Transport, J: FnMut() -> f64 + Send> Dispatch<T, J> {
    fn new(parts: DispatchParts<T, J>, shutdown: watch::Receiver<bool>) -> Self {
        let reviewed = parts.routing.borrow().clone();
        Self {
            scheduler: Scheduler::new(parts.settings.clone()),
            ledger: Ledger::new(parts.store.clone()),
            observer: Observer::new(&parts),
            attempts: JoinSet::new(),
            jobs: Jobs::new(),
            shutdown,
            started: Instant::now(),
            list_lanes: true,
            review: Review::Done,
            routed: true,
            reviewed,
            again: None,
            parts,
        }
    }

    pub(in crate::dispatch) fn now(&self) -> Now {
        Now { wall: self.parts.clock.now_ms(), steady: self.started.elapsed().as_millis() as i64 }
    }

    async fn run(mut self) -> Result<(), StoreError> {
        self.followed().await;
        while self.is_wanted() {
            self.ended()?;
            let busy = self.read().await;
            self.give_up().await;
            self.start().await;
            self.ledger.flush_due();
            self.observer.levels(&self.scheduler);
            if !self.wait(busy).await? {
                break;
            }
        }
        self.drain().await
    }

    /// Nobody has asked for the stop, and somebody could.
    fn is_wanted(&self) -> bool {
        !*self.shutdown.borrow() && self.shutdown.has_changed().is_ok()
    }

    /// Before a first snapshot is complete nobody knows who subscribes, and nothing may be given up for want of one: not when
    /// capture has stopped before us either.
    async fn followed(&mut self) {
        while self.parts.store.position().is_none() && self.is_wanted() {
            tokio::select! {
                biased;
                _ = self.shutdown.changed() => {}
                changed = self.parts.routing.changed(), if self.routed => self.routed = changed.is_ok(),
            }
        }
    }

    /// Takes in everything that has ended, without waiting.
    fn ended(&mut self) -> Result<(), StoreError> {
        while let Some(joined) = self.attempts.try_join_next_with_id() {
            self.attempt_ended(joined);
        }
        loop {
            let tickets = self.ledger.finished_now()?;
            if tickets.is_empty() {
                break;
            }
            self.settled(&tickets);
        }
        Ok(())
    }

    fn settled(&mut self, tickets: &[crate::dispatch::Ticket]) {
        fault::crash_point("dispatch.outcomes-durable");
        let now = self.now();
        for ticket in tickets {
            self.scheduler.settled(*ticket, now);
        }
    }

    fn attempt_ended(&mut self, joined: Result<(task::Id, Attempted), JoinError>) {
        let (id, came) = match joined {
            Ok(pair) => pair,
            Err(e) => (e.id(), Attempted::local("the attempt broke off".into(), None)),
        };
        let Some((job, at_ms)) = self.jobs.remove(&id) else { return };
        fault::crash_point("dispatch.back");
        let now = self.now();
        let jitter = (self.parts.jitter)();
        let done = self.scheduler.done(&job, came.outcome, at_ms, now, jitter);
        self.observer.attempt(&done, came.event.as_ref(), now.wall);
        let record = Record::Attempted { key: done.key, attempt: done.attempt, next: done.next };
        self.ledger.add(record, job.ticket);
    }

    /// Reads what the scheduler wants; true if it may want more at once.
    async fn read(&mut self) -> bool {
        let resting = self.again.is_some_and(|again| Instant::now() < again);
        if resting {
            return false;
        }
        if self.again.take().is_some() {
            self.ledger.unblock();
        }
        let read = match self.keep_lanes().await {
            Ok(()) => self.read_wants().await,
            failed => failed,
        };
        if let Err(error) = read {
            tracing::warn!(%error, "pending deliveries cannot be read, trying again");
            self.again = Some(Instant::now() + AGAIN);
            return false;
        }
        self.review != Review::Done || self.list_lanes || self.scheduler.wants_more()
    }

    async fn read_wants(&mut self) -> Result<(), StoreError> {
        let mut wants = self.scheduler.wants(READS).into_iter();
        while let Some(want) = wants.next() {
            if let Err(error) = self.read_one(want).await {
                std::iter::once(want).chain(wants).for_each(|want| self.scheduler.not_read(want));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn read_one(&mut self, want: Want) -> Result<(), StoreError> {
        let now = self.now();
        let store = &self.parts.store;
        match want {
            Want::Page { lane, after, limit } => {
                let page = store.due(lane, after, limit).await?;
                fault::crash_point("dispatch.page-read");
                self.reopen(lane);
                self.scheduler.filled(lane, page, limit, now);
            }
            Want::First { lane, order } => {
                let found = store.first_in_order(lane, order).await?;
                self.scheduler.first(lane, order, found, now);
            }
            Want::Count { lane, after, limit } => {
                let page = store.due(lane, after, limit).await?;
                self.scheduler.counted(lane, &page, limit);
            }
        }
        Ok(())
    }

    fn offered(&mut self, pending: Vec<Pending>, overflowed: bool) {
        let now = self.now();
        for pending in pending {
            let lane = pending.subscription;
            self.reopen(lane);
            if self.scheduler.offer(pending, now) == Offered::UnknownLane {
                self.refresh_lane(lane);
                self.scheduler.backlog(lane);
            }
        }
        self.list_lanes |= overflowed;
    }

    async fn give_up(&mut self) {
        let at_ms = self.parts.clock.now_ms();
        for given_up in self.scheduler.take_given_up() {
            self.observer.given_up(&given_up).await;
            let reason = given_up.reason.to_string();
            self.ledger.add(Record::Abandoned { key: given_up.key, reason, at_ms }, given_up.ticket);
        }
    }

    /// Starts what may start. Not while the store takes nothing: what cannot be recorded would be repeated.
    async fn start(&mut self) {
        while !self.ledger.is_blocked() {
            let now = self.now();
            let Some(job) = self.scheduler.next(now) else { break };
            let lane = job.ticket.lane;
            let known = self.current(lane).filter(|current| {
                self.scheduler
                    .endpoint_of(lane)
                    .is_some_and(|at| at.url == current.url && at.tenant == current.tenant)
            });
            let Some(subscription) = known else {
                self.scheduler.put_back(&job, now);
                self.refresh_lane(lane);
                continue;
            };
            let attempting = Attempting {
                store: self.parts.store.clone(),
                transport: self.parts.transport.clone(),
                sealer: self.parts.sealer.clone(),
                subscription,
                pending: job.pending.clone(),
                timeout: self.parts.settings.timeout,
                at_ms: now.wall,
            };
            fault::crash_point("dispatch.picked");
            let handle = self.attempts.spawn(attempting.make());
            self.jobs.insert(handle.id(), (job, now.wall));
        }
        // what `next` gave up on the way
        self.give_up().await;
    }

    /// Waits for something to happen; false: stop.
    async fn wait(&mut self, busy: bool) -> Result<bool, StoreError> {
        let timer =
            self.scheduler.next_wake().map(|at| self.started + Duration::from_millis(at.max(0) as u64));
        let again = if self.ledger.is_blocked() && self.again.is_none() {
            *self.again.insert(Instant::now() + AGAIN)
        } else {
            self.again.unwrap_or_else(|| Instant::now() + DRAIN)
        };
        let wake = timer.filter(|_| !self.ledger.is_blocked()).map_or(again, |timer| timer.min(again));
        let wake = self.ledger.due().map_or(wake, |due| due.min(wake));
        tokio::select! {
            biased;
            changed = self.shutdown.changed() => return Ok(changed.is_ok() && !*self.shutdown.borrow()),
            (pending, overflowed) = self.parts.store.fresh() => self.offered(pending, overflowed),
            tickets = self.ledger.finished(), if self.ledger.has_commits() => {
                let tickets = tickets?;
                self.settled(&tickets);
            }
            Some(joined) = self.attempts.join_next_with_id() => self.attempt_ended(joined),
            // Without a publisher (capture has stopped) the last routing holds; pending deliveries go on.
            changed = self.parts.routing.changed(), if self.routed => {
                self.routed = changed.is_ok();
                self.routing_changed();
            }
            () = self.parts.store.writable(), if self.ledger.is_blocked() => self.again = Some(Instant::now()),
            () = task::yield_now(), if busy => {}
            () = sleep_until(wake) => {}
        }
        Ok(true)
    }

    /// A routing comes with every durable batch; lanes are reviewed only if a subscription changed.
    fn routing_changed(&mut self) {
        let routing = self.parts.routing.borrow_and_update().clone();
        if !routing.same_subscriptions(&self.reviewed) {
            self.review = Review::After(None);
        }
        self.reviewed = routing;
    }

    /// Lets what is in flight end, and makes it durable.
    async fn drain(mut self) -> Result<(), StoreError> {
        let deadline = Instant::now() + DRAIN;
        while !self.attempts.is_empty() {
            tokio::select! {
                biased;
                Some(joined) = self.attempts.join_next_with_id() => self.attempt_ended(joined),
                () = sleep_until(deadline) => break,
            }
        }
        let cut_off = self.attempts.len();
        if cut_off > 0 {
            tracing::info!(
                cut_off,
                "attempts were cut off by the stop; they are made again at the next start"
            );
            self.attempts.shutdown().await;
        }
        fault::crash_point("stop.drained");
        let deadline = Instant::now() + SETTLE;
        while !self.ledger.is_empty() && !self.ledger.is_blocked() {
            self.ledger.flush();
            tokio::select! {
                biased;
                finished = self.ledger.finished() => drop(finished?),
                () = sleep_until(deadline) => break,
            }
        }
        if !self.ledger.is_empty() {
            tracing::warn!(
                "some outcomes could not be made durable before the stop; those attempts are made again"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
