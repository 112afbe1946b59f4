//! `tailhook demo`: a throw-away Postgres, a small ERP at work, the sidecar, a receiver that verifies every signature, and
//! an audit trigger's ground truth that all of it is held against. Tests and benchmarks borrow its parts. Knows of Tailhook
//! what a user does: the binary, its file, its API and what receivers get.
pub mod certificates;
pub mod child;
pub mod cluster;
pub mod database;
pub mod http;
pub mod ledger;
pub mod random;
pub mod receiver;
pub mod scratch;
pub mod sidecar;
pub mod verdict;

mod day;
mod inbox;
mod screen;
mod shop;
mod stage;

use anyhow::{Context, bail};
use cluster::Cluster;
use day::Ended;
use ledger::{Ledger, Match};
use receiver::Received;
use screen::Screen;
use stage::Stage;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use verdict::Verdict;

/// How long what was committed may take to arrive after the last commit.
const SETTLE: Duration = Duration::from_secs(30);
/// How long the sidecar may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// Waiting here holds up the receiver or the shops, nothing else.
const QUEUE: usize = 1024;

/// Runs it with `program` as the sidecar for so long, or until the first of `stops`; a second one does not wait for what is
/// still on its way.
pub async fn run(
    program: &Path,
    duration: Option<Duration>,
    mut stops: watch::Receiver<u32>,
) -> anyhow::Result<Verdict> {
    screen::print("a throw-away Postgres is being made …")?;
    // A thread makes it, which nothing cancels: it is waited for whatever comes, so that what it has made goes again.
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(&[])).await.context("no thread")??;
    let (arrivals, arrived) = mpsc::channel(QUEUE);
    let mut stage = tokio::select! {
        biased;
        _ = stops.wait_for(|stops| *stops > 0) => bail!("stopped before it began"),
        stage = Box::pin(Stage::set(program, cluster, arrivals)) => stage?,
    };
    let screen = Screen::new(stage.tenant_names());
    Screen::head()?;
    let (ends, ended) = mpsc::channel(QUEUE);
    let mut play = Play { book: Book::new(screen, stage.inbox()), arrived, ended, stops };
    let whole = Box::pin(play.perform(&mut stage, ends, duration)).await?;
    let due = if whole { Some(stage.facts_in_all().await?) } else { None };
    Box::pin(stage.strike(STOP)).await?;
    // A repeat that came while the sidecar stopped would be a fault too.
    while let Ok(request) = play.arrived.try_recv() {
        play.book.received(&request)?;
    }
    let verdict = play.book.close()?;
    if due.is_some_and(|due| due != verdict.expected()) {
        bail!(
            "the audit table does not hold what the shops saw committed: the demonstration itself is at fault"
        );
    }
    Ok(verdict)
}

/// What comes in while it runs.
struct Play {
    book: Book,
    arrived: mpsc::Receiver<Received>,
    ended: mpsc::Receiver<Ended>,
    stops: watch::Receiver<u32>,
}

impl Play {
    /// Until everything has arrived (true), or it was cut short (false).
    async fn perform(
        &mut self,
        stage: &mut Stage,
        ends: mpsc::Sender<Ended>,
        duration: Option<Duration>,
    ) -> anyhow::Result<bool> {
        let (close, closing) = watch::channel(false);
        stage.open_shops(&ends, &closing).await?;
        drop(ends);
        let mut until = duration.map(|duration| Instant::now() + duration);
        let mut open = true;
        while open || !self.book.ledger.is_settled() {
            tokio::select! {
                biased;
                stopped = self.stops.changed() => {
                    if stopped.is_err() || *self.stops.borrow() > 1 {
                        return Ok(false);
                    }
                    close.send_replace(true);
                }
                end = self.ended.recv(), if open => {
                    if let Some(end) = end {
                        self.book.ended(end)?;
                    } else {
                        stage.shops_closed().await?;
                        open = false;
                        until = Some(Instant::now() + SETTLE);
                    }
                }
                Some(request) = self.arrived.recv() => self.book.received(&request)?,
                fault = stage.fault() => return Err(fault),
                () = reached(until) => {
                    if !open {
                        break;
                    }
                    close.send_replace(true);
                    until = None;
                }
            }
        }
        Ok(true)
    }
}

/// Never, without an end.
async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The ledger, and what is shown of it.
struct Book {
    ledger: Ledger,
    screen: Screen,
    inbox: inbox::Inbox,
    commits: u64,
    rollbacks: u64,
}

impl Book {
    fn new(screen: Screen, inbox: inbox::Inbox) -> Self {
        Self { ledger: Ledger::default(), screen, inbox, commits: 0, rollbacks: 0 }
    }
    fn ended(&mut self, ended: Ended) -> io::Result<()> {
        if ended.committed {
            self.commits += 1;
        } else {
            self.rollbacks += 1;
        }
        for fact in ended.facts {
            let seen = self.ledger.committed(fact, ended.at);
            self.show(seen)?;
        }
        Ok(())
    }
    fn received(&mut self, request: &Received) -> io::Result<()> {
        let seen = self.ledger.received(self.inbox.open(request));
        self.show(seen)
    }
    fn show(&self, seen: Option<Match>) -> io::Result<()> {
        seen.map_or(Ok(()), |seen| self.screen.event(&seen))
    }
    fn close(self) -> io::Result<Verdict> {
        let verdict = self.ledger.close();
        self.screen.summary(&verdict, self.commits, self.rollbacks)?;
        Ok(verdict)
    }
}
