//! The `Source` of the simulation: one connection to the simulated server. Every call may find the connection broken.
use crate::encode;
use crate::erp::Txn;
use crate::plan::Kind;
use crate::postgres::{DATABASE, SYSTEM_ID, Server};
use crate::schema::TABLES;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tailhook::capture::{
    BoxFuture, CatalogLook, Feedback, FillRow, Frame, Refill, Source, SourceError, Survey,
};
use tailhook::domain::{Lsn, Table};
use tailhook::mapping::rows::shadow::TablePlan;
use tokio::time::{sleep, sleep_until};

/// `wal_sender_timeout`.
const TIMEOUT_MS: u64 = 60_000;

/// A connection.
#[derive(Debug, Default)]
struct Connection {
    /// Of which start of the server.
    start: u64,
    /// Next transaction to look at.
    next: usize,
    streaming: bool,
    from: u64,
    queue: VecDeque<Frame>,
    /// Those that were told, each with how often it had been out of the publication then.
    relations: BTreeSet<(u32, usize)>,
    /// The furthest position that was named to the client.
    sent: u64,
    /// Everything that committed before has been sent: what a keepalive says.
    complete: u64,
    keepalive_ms: u64,
    /// An answer is wanted by then.
    answer_by_ms: Option<u64>,
    /// The next frame is on its way until then.
    pause_until_ms: u64,
}

#[derive(Debug)]
pub(crate) struct SimSource {
    server: Arc<Server>,
    connection: Option<Connection>,
    snapshot: VecDeque<FillRow>,
}

impl Drop for SimSource {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn broken(what: &str) -> SourceError {
    SourceError::Retry(format!("simulated: {what}"))
}

impl SimSource {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: server.clone(), connection: None, snapshot: VecDeque::new() }
    }

    /// Time passes; then the connection is there, or it is not.
    async fn call(&mut self, permille: u64) -> Result<(), SourceError> {
        let latency = self.server.rng.below(3);
        if latency > 0 {
            sleep(Duration::from_millis(latency)).await;
        }
        self.alive()?;
        if self.server.world.strikes(Kind::Server, &self.server.rng, permille) {
            return self.cut("connection reset");
        }
        Ok(())
    }

    fn alive(&mut self) -> Result<(), SourceError> {
        let up = self.server.tick();
        match &self.connection {
            None => Err(broken("not connected")),
            Some(connection) if up == Some(connection.start) => Ok(()),
            Some(_) => self.cut("the server has gone"),
        }
    }

    fn cut<T>(&mut self, what: &str) -> Result<T, SourceError> {
        self.hang_up();
        self.server.world.note(|| format!("postgres: {what}"));
        Err(broken(what))
    }

    fn hang_up(&mut self) {
        self.snapshot.clear();
        if self.connection.take().is_some_and(|connection| connection.streaming) {
            self.server.hung_up();
        }
    }

    /// Puts the frames of the next committed transaction into the queue.
    fn enqueue(&mut self) -> bool {
        let committed = self.server.committed();
        let Some(connection) = &mut self.connection else { return false };
        while connection.next < committed {
            let txn = &self.server.txns[connection.next];
            connection.next += 1;
            if txn.commit >= connection.from {
                frames(txn, connection, &self.server);
                return true;
            }
        }
        false
    }

    /// A keepalive, when one is due. In the middle of a transaction it names what was complete before it.
    fn keepalive(&mut self) -> Result<Option<Frame>, SourceError> {
        let (now, rng) = (self.server.world.ms(), self.server.rng.clone());
        let wal_end = self.server.wal_end();
        let Some(connection) = &mut self.connection else { return Err(broken("not connected")) };
        if connection.answer_by_ms.is_some_and(|by| now >= by) {
            self.server.world.violated("a keepalive that wanted a reply had none for a minute".to_owned());
            return self.cut("terminating walsender due to replication timeout");
        }
        if now < connection.keepalive_ms {
            return Ok(None);
        }
        connection.keepalive_ms = now + 50 + rng.below(10_000);
        let reply = rng.permille(400);
        if reply {
            connection.answer_by_ms.get_or_insert(now + TIMEOUT_MS);
        }
        if connection.queue.is_empty() {
            connection.complete = wal_end;
        }
        connection.sent = connection.sent.max(connection.complete);
        Ok(Some(Frame::Keepalive { end: Lsn(connection.complete), reply }))
    }

    /// In a shutdown, when everything is sent: is it flushed? Asked again after every answer that says no.
    fn farewell(&mut self) -> Option<Frame> {
        if self.connection.as_ref().is_none_or(|c| !c.queue.is_empty()) || self.enqueue() {
            return None;
        }
        let end = self.server.drained()?;
        let now = self.server.world.ms();
        let connection =
            self.connection.as_mut().filter(|c| c.answer_by_ms.is_none() && c.pause_until_ms <= now)?;
        connection.answer_by_ms = Some(now + TIMEOUT_MS);
        connection.pause_until_ms = now + 1;
        connection.complete = end;
        connection.sent = connection.sent.max(end);
        Some(Frame::Keepalive { end: Lsn(end), reply: true })
    }

    fn wake_ms(&self) -> u64 {
        let committed = self.server.committed();
        let commit = self.server.txns.get(committed).map_or(u64::MAX, |txn| txn.at_ms);
        let keepalive = self.connection.as_ref().map_or(0, |c| c.keepalive_ms);
        if self.server.is_stopping() {
            self.server.world.ms() + 100
        } else {
            commit.min(keepalive).min(self.server.next_end_ms())
        }
    }

    fn take(&mut self) -> Result<Option<Frame>, SourceError> {
        let rng = self.server.rng.clone();
        let now = self.server.world.ms();
        let Some(connection) = &mut self.connection else { return Err(broken("not connected")) };
        if connection.pause_until_ms > now {
            return Ok(None);
        }
        let Some(frame) = connection.queue.pop_front() else { return Ok(None) };
        if rng.permille(30) {
            connection.pause_until_ms = now + rng.below(40);
        }
        // a fill beside the stream may be done before the stream has come to its point
        if self.server.has_table_gaps() && !self.server.is_stopping() && rng.permille(40) {
            connection.pause_until_ms = now + rng.below(3_000);
        }
        if let Frame::Wal { start, .. } = &frame {
            connection.sent = connection.sent.max(start.0);
            if connection.queue.is_empty() {
                connection.complete = start.0;
            }
        }
        if self.server.world.strikes(Kind::Server, &rng, 2) {
            return self.cut("connection lost in the stream");
        }
        Ok(Some(frame))
    }
}

/// The messages of one transaction, as `pgoutput` writes them. A logical walsender names the same position as start of
/// the data and as end of WAL, and none for a relation.
fn frames(txn: &Txn, connection: &mut Connection, server: &Server) {
    let mut push = |start: u64, data: Bytes| {
        connection.queue.push_back(Frame::Wal { start: Lsn(start), end: Lsn(start), data });
    };
    push(txn.begin, encode::begin(txn));
    let step = (txn.commit - txn.begin) / (txn.ops.len() as u64 + 1);
    for (number, op) in txn.ops.iter().enumerate() {
        if !server.publishes(op.table(), txn.commit) {
            continue;
        }
        let at = txn.begin + step * number as u64;
        let table = &TABLES[op.table()];
        if connection.relations.insert((table.oid, server.returns(op.table(), txn.commit))) {
            push(0, encode::relation(table));
        }
        push(at, encode::change(op));
    }
    push(txn.end, encode::commit(txn));
}

impl Source for SimSource {
    async fn survey(&mut self) -> Result<Survey, SourceError> {
        self.hang_up();
        sleep(Duration::from_millis(1 + self.server.rng.below(5))).await;
        let up = self.server.tick();
        let Some(start) = up.filter(|_| !self.server.is_stopping()) else {
            return self.cut("connection refused");
        };
        self.connection = Some(Connection { start, ..Connection::default() });
        self.call(20).await?;
        let (timeline, history) = self.server.timelines();
        Ok(Survey {
            system_id: SYSTEM_ID.to_owned(),
            timeline,
            wal_end: Lsn(self.server.wal_end()),
            database: DATABASE.to_owned(),
            slot: self.server.slot_state(),
            history,
            unreadable: None,
        })
    }

    async fn snapshot(&mut self, _tables: &[TablePlan]) -> Result<Lsn, SourceError> {
        self.call(20).await?;
        let at = self.server.wal_end();
        self.snapshot = (self.server.filler)(&self.server.snapshot(at)).into();
        Ok(Lsn(at))
    }

    async fn create_slot(&mut self, _tables: &[TablePlan]) -> Result<Lsn, SourceError> {
        self.call(20).await?;
        if self.server.slot().is_some() {
            return Err(SourceError::Operator("simulated: the slot exists already".to_owned()));
        }
        let from = self.server.make_slot();
        self.snapshot = (self.server.filler)(&self.server.snapshot(from)).into();
        self.call(20).await?;
        Ok(Lsn(from))
    }

    fn look(&self) -> BoxFuture<'static, Result<CatalogLook, SourceError>> {
        let (server, latency) = (self.server.clone(), Duration::from_millis(self.server.rng.below(5)));
        Box::pin(async move {
            sleep(latency).await;
            server.tick().map(|_| server.look()).ok_or_else(|| broken("the server is down"))
        })
    }

    fn refill(&self, tables: Vec<TablePlan>) -> BoxFuture<'static, Result<Refill, SourceError>> {
        self.server.refill(tables)
    }

    async fn drop_slot(&mut self) -> Result<(), SourceError> {
        self.call(20).await?;
        self.server.drop_slot();
        Ok(())
    }

    async fn fill(&mut self) -> Result<Vec<FillRow>, SourceError> {
        self.call(20).await?;
        let some = (1 + self.server.rng.below(6) as usize).min(self.snapshot.len());
        Ok(self.snapshot.drain(..some).collect())
    }

    async fn start(&mut self, from: Lsn) -> Result<(), SourceError> {
        self.call(20).await?;
        let Some(slot) = self.server.slot_state() else {
            return Err(SourceError::Gap("simulated: no slot".to_owned()));
        };
        if slot.active_pid.is_some() {
            return Err(broken("replication slot \"tailhook\" is active for PID 4711"));
        }
        if slot.restart.is_none() {
            return Err(SourceError::Gap(
                "simulated: cannot read from a slot that has been invalidated".to_owned(),
            ));
        }
        self.server.streams(from.0);
        let (world, from) = (self.server.world.clone(), from.0.max(slot.confirmed.0));
        if let Some(connection) = &mut self.connection {
            world.note(|| format!("streaming from {from:x}"));
            *connection = Connection {
                start: connection.start,
                streaming: true,
                from,
                sent: from,
                complete: from,
                keepalive_ms: world.ms(),
                ..Connection::default()
            };
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Frame, SourceError> {
        loop {
            self.alive()?;
            if !self.connection.as_ref().is_some_and(|c| c.streaming) {
                return Err(SourceError::Malformed("simulated: next before start".to_owned()));
            }
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            if let Some(frame) = self.farewell() {
                return Ok(frame);
            }
            let waiting = self.connection.as_ref().is_some_and(|c| !c.queue.is_empty());
            if waiting {
                if let Some(frame) = self.keepalive()? {
                    return Ok(frame);
                }
                let until = self.connection.as_ref().map_or(0, |c| c.pause_until_ms);
                sleep_until(self.server.world.at(until)).await;
            } else if !self.enqueue() {
                if let Some(frame) = self.keepalive()? {
                    return Ok(frame);
                }
                sleep_until(self.server.world.at(self.wake_ms())).await;
            }
        }
    }

    async fn feedback(&mut self, feedback: Feedback) -> Result<(), SourceError> {
        self.alive()?;
        let Some(connection) = &mut self.connection else { return Err(broken("not connected")) };
        connection.answer_by_ms = None;
        let (sent, flushed) = (connection.sent, feedback.flushed.0);
        if feedback.written.0 < flushed {
            self.server.world.violated(format!("flushed {flushed:x} beyond written {}", feedback.written));
        }
        self.server.confirm(flushed, sent).await;
        if self.server.world.strikes(Kind::Server, &self.server.rng, 3) {
            return self.cut("broken pipe");
        }
        Ok(())
    }

    async fn describe(&mut self, relation: u32) -> Result<Table, SourceError> {
        self.call(5).await?;
        let table = TABLES.iter().find(|table| table.oid == relation);
        table.map(crate::schema::TableSpec::describe).ok_or_else(|| broken("no such relation"))
    }

    async fn stop(&mut self) {
        self.hang_up();
    }
}
