//! The `Source` of the simulation: one connection to the simulated server. Every call may find the connection broken.
use crate::encode;
use crate::erp::Txn;
use crate::postgres::{DATABASE, SYSTEM_ID, Server};
use crate::schema::TABLES;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tailhook::capture::{Feedback, FillRow, Frame, Source, SourceError, Survey};
use tailhook::domain::{Lsn, Table};
use tailhook::mapping::shadow::TablePlan;
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
    relations: BTreeSet<u32>,
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
        if self.server.world.strikes(&self.server.rng, permille) {
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
        self.connection = None;
        self.snapshot.clear();
        self.server.world.note(|| format!("postgres: {what}"));
        Err(broken(what))
    }

    /// Puts the frames of the next committed transaction into the queue.
    fn enqueue(&mut self) -> bool {
        let committed = self.server.committed();
        let Some(connection) = &mut self.connection else { return false };
        while connection.next < committed {
            let txn = &self.server.txns[connection.next];
            connection.next += 1;
            if txn.commit >= connection.from {
                frames(txn, connection);
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

    fn wake_ms(&self) -> u64 {
        let committed = self.server.committed();
        let commit = self.server.txns.get(committed).map_or(u64::MAX, |txn| txn.at_ms);
        let keepalive = self.connection.as_ref().map_or(0, |c| c.keepalive_ms);
        commit.min(keepalive).min(self.server.next_crash_ms())
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
        if let Frame::Wal { start, .. } = &frame {
            connection.sent = connection.sent.max(start.0);
            if connection.queue.is_empty() {
                connection.complete = start.0;
            }
        }
        if self.server.world.strikes(&rng, 2) {
            return self.cut("connection lost in the stream");
        }
        Ok(Some(frame))
    }
}

/// The messages of one transaction, as `pgoutput` writes them. A logical walsender names the same position as start of
/// the data and as end of WAL, and none for a relation.
fn frames(txn: &Txn, connection: &mut Connection) {
    let mut push = |start: u64, data: Bytes| {
        connection.queue.push_back(Frame::Wal { start: Lsn(start), end: Lsn(start), data });
    };
    push(txn.begin, encode::begin(txn));
    let step = (txn.commit - txn.begin) / (txn.ops.len() as u64 + 1);
    for (number, op) in txn.ops.iter().enumerate() {
        let at = txn.begin + step * number as u64;
        let table = &TABLES[op.table()];
        if connection.relations.insert(table.oid) {
            push(0, encode::relation(table));
        }
        push(at, encode::change(op));
    }
    push(txn.end, encode::commit(txn));
}

impl Source for SimSource {
    async fn survey(&mut self) -> Result<Survey, SourceError> {
        self.connection = None;
        self.snapshot.clear();
        sleep(Duration::from_millis(1 + self.server.rng.below(5))).await;
        let Some(start) = self.server.tick() else { return self.cut("connection refused") };
        self.connection = Some(Connection { start, ..Connection::default() });
        self.call(20).await?;
        Ok(Survey {
            system_id: SYSTEM_ID.to_owned(),
            timeline: 1,
            wal_end: Lsn(self.server.wal_end()),
            database: DATABASE.to_owned(),
            slot: self.server.slot_state(),
            history: Vec::new(),
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
        if self.server.world.strikes(&self.server.rng, 3) {
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
        self.connection = None;
        self.snapshot.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Platter;
    use crate::erp::{Cells, Erp, Op};
    use crate::schema::json;
    use crate::world::World;
    use tailhook::capture::transaction::{Assembler, Step};
    use tailhook::domain::{Cell, Change};

    /// Does the decoded change say what the ERP did?
    fn same(op: &Op, change: &Change) -> bool {
        let spec = &TABLES[op.table()];
        let says = |cells: &Cells, i: usize, cell: &Cell| match cell {
            Cell::Null => cells[i].is_none(),
            Cell::NotSent => cells[i].as_ref().is_some_and(|v| v.len() > encode::TOASTED),
            Cell::Json(text) => {
                serde_json::from_slice(text).ok() == Some(json(spec.columns[i].1, cells[i].as_deref()))
            }
        };
        let new = match op {
            Op::Insert { new, .. } | Op::Update { new, .. } => Some(new),
            Op::Delete { .. } | Op::Truncate { .. } => None,
        };
        let fits = match (new, &change.new) {
            (Some(cells), Some(image)) => image.iter().enumerate().all(|(i, cell)| says(cells, i, cell)),
            (None, None) => true,
            _ => false,
        };
        fits && change.table.oid == spec.oid
    }

    /// With connections that break, the transactions come whole, in order, and decode to what was done.
    #[tokio::test(start_paused = true)]
    async fn the_stream_decodes_to_the_history() {
        let world = World::new(3, false);
        let (txns, _) = Erp::new(world.rng.fork()).history(60);
        let server =
            Server::new(&world, &Platter::new(&world), Arc::new(txns.clone()), Box::new(|_| Vec::new()));
        let point = server.make_slot();
        let txns: Vec<Txn> = txns.into_iter().filter(|txn| txn.commit >= point).collect();
        let last = txns.last().unwrap().end;
        let (mut from, mut seen, mut breaks) = (Lsn(point), Vec::new(), 0);
        while from.0 < last {
            let mut source = SimSource::new(&server);
            let mut assembler = Assembler::new(1 << 20);
            if source.survey().await.is_err() || source.start(from).await.is_err() {
                continue;
            }
            while from.0 < last {
                let frame = match source.next().await {
                    Ok(Frame::Wal { start, data, .. }) => assembler.feed(start, data).unwrap(),
                    Ok(Frame::Keepalive { end, .. }) => {
                        let written = end;
                        source.feedback(Feedback { written, flushed: Lsn(0) }).await.ok();
                        continue;
                    }
                    Err(_) => break,
                };
                match frame {
                    Step::Describe(oid) => match source.describe(oid).await {
                        Ok(table) => drop(assembler.described(&table)),
                        Err(_) => break,
                    },
                    Step::Transaction(txn) => {
                        from = txn.end_lsn;
                        seen.push(txn);
                    }
                    Step::Nothing => {}
                }
            }
            breaks += 1;
        }
        assert!(breaks > 1, "a stream without a break shows nothing");
        assert_eq!(seen.len(), txns.len());
        for (txn, decoded) in txns.iter().zip(&seen) {
            assert_eq!(
                (txn.xid, txn.commit, txn.commit_us),
                (decoded.xid, decoded.commit_lsn.0, decoded.commit_us)
            );
            assert_eq!(txn.ops.len(), decoded.changes.len(), "{txn:?}");
            assert!(txn.ops.iter().zip(&decoded.changes).all(|(op, change)| same(op, change)), "{decoded:?}");
        }
        assert_eq!(world.wrong(), Vec::<String>::new());
    }
}
