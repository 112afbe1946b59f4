//! Purpose: the thin loop around the scheduler: store in, attempts out, outcomes back. Must not: decide anything itself.
use crate::dispatch::attempt::{Attempted, Attempting};
use crate::dispatch::ledger::Ledger;
use crate::dispatch::message::GivenUp;
use crate::dispatch::now::Now;
use crate::dispatch::parts::DispatchParts;
use crate::dispatch::reads::{ReadAnswer, Reading, Reads};
use crate::dispatch::roll::Review;
use crate::dispatch::scheduler::{Done, Job};
use crate::dispatch::status::Observer;
use crate::dispatch::{Offered, Scheduler};
use crate::domain::{KeepingError, Pending, Routing, Settled};
use crate::egress::Transport;
use crate::fault;
use crate::store::OwnerLease;
use std::collections::BTreeMap;
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
/// Deliveries whose events' names are not read yet, for the metrics; more are another's.
const NAMELESS: usize = 8192;

/// Delivers what is pending until `shutdown` is true (or its sender is gone); then starts nothing, lets what is in
/// flight end for five seconds, and makes the outcomes durable. What was not is pending again at the next start.
/// Fails only if the store is damaged or closed under it.
pub async fn run<T, J>(
    parts: DispatchParts<T, J>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), KeepingError>
where
    T: Transport,
    J: FnMut() -> f64 + Send,
{
    Dispatch::new(parts, shutdown).run().await
}

/// Attempts under way.
type Jobs = BTreeMap<task::Id, Job>;

pub(in crate::dispatch) struct Dispatch<T, J> {
    pub(in crate::dispatch) parts: DispatchParts<T, J>,
    pub(in crate::dispatch) scheduler: Scheduler,
    ledger: Ledger,
    observer: Observer,
    reads: Reads,
    /// Their events' names are to be read, for the metrics.
    nameless: Vec<GivenUp>,
    attempts: JoinSet<Attempted>,
    jobs: Jobs,
    shutdown: watch::Receiver<bool>,
    started: Instant,
    /// Lanes are to be listed (again).
    list_lanes: bool,
    pub(in crate::dispatch) review: Review,
    /// The subscriptions, as of the last durable commit.
    pub(in crate::dispatch) routing: watch::Receiver<Arc<Routing>>,
    /// Until when attempts may begin.
    lease: OwnerLease,
    /// The routing that lanes were last reviewed by.
    reviewed: Arc<Routing>,
    /// The store failed: nothing is read, nothing committed before.
    again: Option<Instant>,
}

impl<T: Transport, J: FnMut() -> f64 + Send> Dispatch<T, J> {
    fn new(parts: DispatchParts<T, J>, shutdown: watch::Receiver<bool>) -> Self {
        let routing = parts.outbox.routing();
        let reviewed = routing.borrow().clone();
        Self {
            scheduler: Scheduler::new(parts.settings.clone()),
            ledger: Ledger::new(parts.outbox.clone()),
            observer: Observer::new(parts.status.clone(), parts.metrics.clone(), parts.names.clone()),
            reads: Reads::new(parts.outbox.clone()),
            nameless: Vec::new(),
            attempts: JoinSet::new(),
            jobs: Jobs::new(),
            shutdown,
            started: Instant::now(),
            list_lanes: true,
            review: Review::Done,
            routing,
            lease: parts.outbox.lease(),
            reviewed,
            again: None,
            parts,
        }
    }

    pub(in crate::dispatch) fn now(&self) -> Now {
        Now { wall: self.parts.clock.now_ms(), steady: self.started.elapsed().as_millis() as i64 }
    }

    async fn run(mut self) -> Result<(), KeepingError> {
        self.followed().await;
        while self.is_wanted() {
            self.ended()?;
            let busy = self.begin_reads();
            self.give_up();
            self.start();
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

    /// Before a first snapshot is complete nobody knows who subscribes, and nothing may be given up for want of one.
    async fn followed(&mut self) {
        while !self.parts.outbox.is_begun() && self.is_wanted() {
            tokio::select! {
                biased;
                _ = self.shutdown.changed() => {}
                _ = self.routing.changed() => {}
            }
        }
    }

    /// Takes in everything that has ended, without waiting.
    fn ended(&mut self) -> Result<(), KeepingError> {
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
        while let Some(answer) = self.reads.finished_now() {
            self.read_ended(answer);
        }
        Ok(())
    }

    fn settled(&mut self, tickets: &[crate::dispatch::Ticket]) {
        fault::crash_point("dispatch.outcomes-durable");
        self.scheduler.settled(tickets, self.now());
    }

    fn attempt_ended(&mut self, joined: Result<(task::Id, Attempted), JoinError>) {
        let at_ms = self.parts.clock.now_ms();
        let (id, came) = match joined {
            Ok(pair) => pair,
            Err(e) => (e.id(), Attempted::local("the attempt broke off".into(), at_ms, Vec::new())),
        };
        let job = self.jobs.remove(&id);
        debug_assert!(job.is_some(), "an attempt that did not begin");
        let Some(job) = job else { return };
        fault::crash_point("dispatch.back");
        let now = self.now();
        let Some(outcome) = came.outcome else { return self.scheduler.put_back(&job, now) };
        let jitter = (self.parts.jitter)();
        let done = self.scheduler.done(&job, outcome, came.at_ms, now, jitter);
        self.observer.attempt(&done, &came.events, now.wall);
        let Done { keys, attempt, next } = done;
        let record = |key| Settled::Attempted { key, attempt: attempt.clone(), next };
        let tickets = job.parcel.members().map(|member| member.ticket).collect();
        self.ledger.add(keys.into_iter().map(record).collect(), tickets);
    }

    /// Begins to read what is wanted; true if there is more to do at once.
    fn begin_reads(&mut self) -> bool {
        let resting = self.again.is_some_and(|again| Instant::now() < again);
        if resting {
            return false;
        }
        if self.again.take().is_some() {
            self.ledger.unblock();
        }
        self.review_lanes();
        if self.list_lanes && self.reads.begin_lanes() {
            self.list_lanes = false;
        }
        if !self.nameless.is_empty() && self.reads.begin_names(&self.nameless) {
            self.nameless.clear();
        }
        for read in self.scheduler.begin_reads(self.reads.room()) {
            self.reads.begin(read);
        }
        self.review != Review::Done || (self.scheduler.wants_reads() && self.reads.room() > 0)
    }

    /// The store has answered, or has not.
    fn read_ended(&mut self, answer: ReadAnswer) {
        let now = self.now();
        match answer {
            ReadAnswer::Wanted(read, found) => {
                self.reopen(read.lane);
                self.scheduler.answered(&read, found, now);
            }
            ReadAnswer::Lanes(lanes) => {
                for lane in lanes {
                    self.refresh_lane(lane);
                    self.scheduler.backlog(lane);
                }
            }
            ReadAnswer::Names(names) => {
                for name in &names {
                    self.observer.abandoned(name.as_ref());
                }
            }
            ReadAnswer::Failed(reading, why) => {
                match reading {
                    Reading::Wanted(read) => self.scheduler.not_read(&read),
                    Reading::Lanes => self.list_lanes = true,
                    // a number of the metrics less
                    Reading::Names => {}
                }
                if self.again.is_none() {
                    tracing::warn!(error = why, "pending deliveries cannot be read, trying again");
                }
                self.again = Some(Instant::now() + AGAIN);
            }
        }
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
        if overflowed {
            // which lanes have something must be asked, and that takes its time
            self.scheduler.backlog_of_all();
            self.list_lanes = true;
        }
    }

    fn give_up(&mut self) {
        let at_ms = self.parts.clock.now_ms();
        for given_up in self.scheduler.take_given_up() {
            tracing::warn!(delivery = %given_up.key.id, reason = given_up.reason, "delivery abandoned");
            let (key, reason) = (given_up.key.clone(), given_up.reason.to_string());
            self.ledger.add(vec![Settled::Abandoned { key, reason, at_ms }], vec![given_up.ticket]);
            if self.nameless.len() < NAMELESS {
                self.nameless.push(given_up);
            } else {
                self.observer.abandoned(None);
            }
        }
    }

    /// Not while the store takes nothing, for what cannot be recorded would be repeated; nor when our time is over.
    fn may_start(&self) -> bool {
        let ours = self.lease.holds(Instant::now()) || fault::planted("past-the-lease");
        ours && !self.ledger.is_blocked()
    }

    /// Starts what may start.
    fn start(&mut self) {
        while self.may_start() {
            let now = self.now();
            let Some(job) = self.scheduler.next(now) else { break };
            let lane = job.lane();
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
                outbox: self.parts.outbox.clone(),
                transport: self.parts.transport.clone(),
                sealer: self.parts.sealer.clone(),
                subscription,
                parcel: job.parcel.clone(),
                timeout: self.parts.settings.timeout,
                clock: self.parts.clock.clone(),
            };
            fault::crash_point("dispatch.picked");
            let handle = self.attempts.spawn(attempting.make());
            self.jobs.insert(handle.id(), job);
        }
        // what `next` gave up on the way
        self.give_up();
    }

    /// Waits for something to happen; false: stop.
    async fn wait(&mut self, busy: bool) -> Result<bool, KeepingError> {
        let timer =
            self.scheduler.next_wake().map(|at| self.started + Duration::from_millis(at.max(0) as u64));
        let again = if self.ledger.is_blocked() && self.again.is_none() {
            *self.again.insert(Instant::now() + AGAIN)
        } else {
            self.again.unwrap_or_else(|| Instant::now() + DRAIN)
        };
        let timer = timer.filter(|_| self.may_start());
        let wake = timer.into_iter().chain(self.ledger.due()).fold(again, Instant::min);
        tokio::select! {
            biased;
            changed = self.shutdown.changed() => return Ok(changed.is_ok() && !*self.shutdown.borrow()),
            (pending, overflowed) = self.parts.outbox.fresh() => self.offered(pending, overflowed),
            tickets = self.ledger.finished(), if self.ledger.has_commits() => {
                let tickets = tickets?;
                self.settled(&tickets);
            }
            Some(joined) = self.attempts.join_next_with_id() => self.attempt_ended(joined),
            Some(answer) = self.reads.finished() => self.read_ended(answer),
            _ = self.routing.changed() => self.routing_changed(),
            () = self.lease.prolonged() => {}
            () = self.parts.outbox.writable(), if self.ledger.is_refused() => self.again = Some(Instant::now()),
            () = task::yield_now(), if busy => {}
            () = sleep_until(wake) => {}
        }
        Ok(true)
    }

    /// A routing comes with every durable batch; lanes are reviewed only if a subscription changed.
    fn routing_changed(&mut self) {
        let routing = self.routing.borrow_and_update().clone();
        if !routing.same_subscriptions(&self.reviewed) {
            self.review = Review::After(None);
        }
        self.reviewed = routing;
    }

    /// Lets what is in flight end, and makes it durable.
    async fn drain(mut self) -> Result<(), KeepingError> {
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
            tracing::info!(cut_off, "attempts were cut off by the stop and are made again at the next start");
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
                "outcomes could not be made durable before the stop: those attempts are made again"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
