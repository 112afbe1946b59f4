//! A model of the store: what is pending, in order, and nothing else; and time that a test moves by hand.
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::dispatch::{BegunRead, Facts, Job, Now, Scheduler, Ticket, Want};
use crate::domain::{EndpointKey, Failure, Next, Outcome, Pending, Seq, SubscriptionId, TenantId};
use crate::settings::{DispatchSettings, PerEndpoint};
use std::collections::BTreeMap;

/// What is pending, by lane; and the scheduler over it.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) store: BTreeMap<SubscriptionId, BTreeMap<Seq, Pending>>,
    pub(super) now: i64,
    pub(super) next_seq: u64,
    /// Lane, place and status (0: given up) of what has ended, in order.
    pub(super) ended: Vec<(SubscriptionId, u64, u16)>,
    pub(super) attempts: Vec<(SubscriptionId, u64)>,
}

pub(super) fn settings() -> DispatchSettings {
    DispatchSettings {
        concurrency: 16,
        per_endpoint: PerEndpoint { concurrency: 4, rate: 0, burst: 1 },
        ..DispatchSettings::default()
    }
}

pub(super) fn facts(endpoint: u128) -> Facts {
    let url = format!("https://e{endpoint}.test/");
    Facts { endpoint: EndpointKey { tenant: TenantId::new("t"), url }, ordering: None, rate: None }
}

pub(super) fn answer(status: u16) -> Outcome {
    let answer = match status {
        0 => Err(Failure::Timeout),
        1 => Err(Failure::Local),
        2 => Err(Failure::Connection),
        status => Ok(status),
    };
    Outcome { answer, detail: None, retry_after_ms: None, duration_us: 1 }
}

impl Job {
    /// Of the delivery, if it is one.
    pub(super) fn ticket(&self) -> Ticket {
        self.parcel.first().ticket
    }
}

impl World {
    pub(super) fn new(settings: DispatchSettings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            store: BTreeMap::new(),
            now: 0,
            next_seq: 0,
            ended: Vec::new(),
            attempts: Vec::new(),
        }
    }
    /// One lane per endpoint of the same number.
    pub(super) fn with_lanes(settings: DispatchSettings, lanes: u128) -> Self {
        let mut world = Self::new(settings);
        for n in 1..=lanes {
            world.scheduler.open_lane(lane_id(n), &facts(n), world.time());
        }
        world
    }
    pub(super) fn time(&self) -> Now {
        Now { wall: 1_000_000 + self.now, steady: self.now }
    }
    pub(super) fn create(&mut self, lane: u128, order: Option<u64>) -> Pending {
        self.next_seq += 1;
        let time = self.time().wall;
        let new = Pending { due_ms: time, created_us: time * 1000, ..pending(lane, self.next_seq, order) };
        self.store.entry(lane_id(lane)).or_default().insert(new.seq, new.clone());
        new
    }
    pub(super) fn add(&mut self, lane: u128, order: Option<u64>) -> u64 {
        let new = self.create(lane, order);
        let seq = new.seq.parts().0;
        self.scheduler.offer(new, self.time());
        seq
    }
    pub(super) fn answer_wants(&mut self) {
        loop {
            let begun = self.scheduler.begin_reads(4);
            if begun.is_empty() {
                return;
            }
            for read in begun {
                let found = self.look(&read);
                self.scheduler.answered(&read, found, self.time());
            }
        }
    }
    /// What the store says to it now.
    pub(super) fn look(&self, read: &BegunRead) -> Vec<Pending> {
        let of_lane = self.store.get(&read.lane).into_iter().flatten();
        match read.want {
            Want::Page { after, limit } | Want::Count { after, limit } => {
                of_lane.filter(|(seq, _)| Some(**seq) > after).map(|(_, p)| p.clone()).take(limit).collect()
            }
            Want::First { order } => {
                of_lane.map(|(_, p)| p).filter(|p| p.order == Some(order)).take(1).cloned().collect()
            }
        }
    }
    /// The one read that is wanted begins, and the store is asked; the answer is under way.
    pub(super) fn begin(&mut self) -> (BegunRead, Vec<Pending>) {
        let begun = self.scheduler.begin_reads(1);
        let found = self.look(&begun[0]);
        (begun[0], found)
    }
    pub(super) fn answer(&mut self, (read, found): (BegunRead, Vec<Pending>)) {
        self.scheduler.answered(&read, found, self.time());
    }
    /// Everything that may start now, without reading.
    pub(super) fn start_unread(&mut self) -> Vec<Job> {
        let time = self.time();
        let jobs: Vec<Job> = std::iter::from_fn(|| self.scheduler.next(time)).collect();
        self.attempts.extend(jobs.iter().map(|job| (job.ticket().lane, job.ticket().seq.parts().0)));
        jobs
    }
    /// Everything that may start now.
    pub(super) fn start(&mut self) -> Vec<Job> {
        self.answer_wants();
        self.start_unread()
    }
    /// Ends an attempt; not yet durable.
    pub(super) fn done(&mut self, job: &Job, status: u16) -> Next {
        self.done_with(job, answer(status))
    }
    pub(super) fn done_with(&mut self, job: &Job, outcome: Outcome) -> Next {
        let status = outcome.answer.unwrap_or_default();
        let done = self.scheduler.done(job, outcome, self.time().wall, self.time(), 0.0);
        let of_lane = self.store.get_mut(&job.lane()).unwrap();
        for Ticket { lane, seq } in job.parcel.members().map(|member| member.ticket) {
            match done.next {
                Next::RetryAt(at) => {
                    let stored = of_lane.get_mut(&seq).unwrap();
                    (stored.due_ms, stored.attempts) = (at, done.attempt.number);
                    stored.counted_attempts += u32::from(done.attempt.counted);
                }
                Next::Delivered | Next::Failed => {
                    of_lane.remove(&seq).unwrap();
                    self.ended.push((lane, seq.parts().0, status));
                }
            }
        }
        done.next
    }
    pub(super) fn settle(&mut self, job: &Job) {
        let tickets: Vec<Ticket> = job.parcel.members().map(|member| member.ticket).collect();
        self.scheduler.settled(&tickets, self.time());
    }
    pub(super) fn finish(&mut self, job: &Job, status: u16) -> Next {
        let next = self.done(job, status);
        self.settle(job);
        next
    }
    /// Makes durable what was given up.
    pub(super) fn give_up(&mut self) -> Vec<u64> {
        let mut places = Vec::new();
        for given_up in self.scheduler.take_given_up() {
            let of_lane = self.store.get_mut(&given_up.ticket.lane).unwrap();
            of_lane.remove(&given_up.ticket.seq).expect("given up twice, or after its end");
            self.ended.push((given_up.ticket.lane, given_up.ticket.seq.parts().0, 0));
            self.scheduler.settled(&[given_up.ticket], self.time());
            places.push(given_up.ticket.seq.parts().0);
        }
        places
    }
    pub(super) fn run_dry(&mut self, status: u16) {
        loop {
            let jobs = self.start();
            let gave_up = !self.give_up().is_empty();
            for job in &jobs {
                self.finish(job, status);
            }
            if !jobs.is_empty() || gave_up {
                continue;
            }
            match self.scheduler.next_wake() {
                Some(at) => self.now = self.now.max(at),
                None => return,
            }
        }
    }
}
