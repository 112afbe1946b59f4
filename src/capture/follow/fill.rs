//! Purpose: fills subscriptions and shadow from a snapshot: once when the slot is made, and again where the stream reaches the point
//! of a later snapshot, when a changed mapping remembers more. Must not: stream, or announce anything.
use crate::capture::follow::memory::Memory;
use crate::capture::follow::status::SessionError;
use crate::capture::source::{Feedback, FillRow, Source};
use crate::domain::Lsn;
use crate::fault;
use crate::mapping::Mapping;
use crate::store::{Batch, Checkpoint, Identity, Record};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// The server hears of us at least this often while rows are read.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Makes the slot and takes its snapshot; the position is the last thing written.
pub(in crate::capture) async fn first<S: Source>(
    source: &mut S,
    checkpoint: &Checkpoint,
    mapping: &Mapping,
    identity: Identity,
) -> Result<Lsn, SessionError> {
    let mut memory = Memory::new(mapping, "");
    // before the snapshot: what changes from here on is noticed
    let look = source.look().await?;
    memory.tables.compare(&look, mapping.plan(), Lsn::ZERO);
    let identity = Identity { shadow_plan: mapping.plan().text() + &memory.tables.text(), ..identity };
    let tables: Vec<_> = memory.unfilled().cloned().collect();
    checkpoint.commit(Batch { records: vec![Record::Filling(identity.clone())] }).await?;
    fault::crash_point("first.noted");
    let from = source.create_slot(&tables).await?;
    fault::crash_point("first.slot");
    let mut unseen: Vec<_> = checkpoint.subscriptions().iter().map(|s| s.id).collect();
    let mut rows = 0_u64;
    loop {
        let chunk = source.fill().await?;
        if chunk.is_empty() {
            break;
        }
        report(&mut rows, chunk.len());
        unseen.retain(|id| !chunk.iter().any(|row| matches!(row, FillRow::Subscription(s) if s.id == *id)));
        checkpoint.commit(Batch { records: records(chunk, &memory) }).await?;
        fault::crash_point("first.chunk");
    }
    fault::crash_point("first.filled");
    let mut records: Vec<_> = unseen.into_iter().map(Record::SubscriptionGone).collect();
    records.extend([Record::Identity(identity), Record::Position(from)]);
    checkpoint.commit(Batch { records }).await?;
    fault::crash_point("first.complete");
    info!("first snapshot complete: {rows} rows as of {from}");
    Ok(from)
}

/// Before the stream: where rows lie by what the store says was filled, and a snapshot if the mapping remembers more than that. Until
/// the stream has reached its point (the second answer), rules that need the new memory match nothing.
pub(in crate::capture) async fn prepare<S: Source>(
    source: &mut S,
    checkpoint: &Checkpoint,
    mapping: &Mapping,
) -> Result<(Memory, Option<Lsn>), SessionError> {
    let filled = checkpoint.identity().map(|identity| identity.shadow_plan).unwrap_or_default();
    let mut memory = Memory::new(mapping, &filled);
    if memory.is_settled() {
        return Ok((memory, None));
    }
    let tables: Vec<_> = memory.unfilled().cloned().collect();
    if tables.is_empty() {
        complete(checkpoint, &mut memory).await?;
        return Ok((memory, None));
    }
    note(checkpoint, memory.abandon(), memory.text()).await?;
    let at = source.snapshot(&tables).await?;
    fault::crash_point("again.snapshot");
    let names: Vec<_> = tables.iter().map(|table| table.table.to_string()).collect();
    info!("the mapping remembers more of {}: filling as of {at}", names.join(", "));
    Ok((memory, Some(at)))
}

/// The stream stands exactly at the snapshot's point: takes its rows. The server is told `feedback` meanwhile.
pub(in crate::capture) async fn again<S: Source>(
    source: &mut S,
    checkpoint: &Checkpoint,
    memory: &mut Memory,
    feedback: Feedback,
) -> Result<(), SessionError> {
    debug_assert!(!memory.is_settled(), "a fill was prepared");
    let mut rows = 0_u64;
    let mut told = Instant::now();
    loop {
        let chunk = source.fill().await?;
        if chunk.is_empty() {
            break;
        }
        report(&mut rows, chunk.len());
        // subscriptions have been followed all along
        let shadow = chunk.into_iter().filter(|row| matches!(row, FillRow::Shadow(..))).collect();
        checkpoint.commit(Batch { records: records(shadow, memory) }).await?;
        fault::crash_point("again.chunk");
        if told.elapsed() >= STATUS_INTERVAL {
            source.feedback(feedback).await?;
            told = Instant::now();
        }
    }
    fault::crash_point("again.filled");
    complete(checkpoint, memory).await?;
    fault::crash_point("again.complete");
    info!("the shadow is filled: {rows} rows; all rules are in effect");
    Ok(())
}

async fn complete(checkpoint: &Checkpoint, memory: &mut Memory) -> Result<(), SessionError> {
    let gone = memory.complete();
    note(checkpoint, gone, memory.text()).await
}

async fn note(checkpoint: &Checkpoint, mut records: Vec<Record>, lines: String) -> Result<(), SessionError> {
    records.extend(noted(checkpoint, lines));
    Ok(checkpoint.commit(Batch { records }).await?)
}

/// Which lines rows lie under from now on, and what is known of the tables (`Memory::text`).
pub(in crate::capture) fn noted(checkpoint: &Checkpoint, lines: String) -> Option<Record> {
    let identity = checkpoint.identity();
    debug_assert!(identity.is_some(), "only a history that is followed is noted");
    identity.map(|known| Record::Identity(Identity { shadow_plan: lines, ..known }))
}

fn records(chunk: Vec<FillRow>, memory: &Memory) -> Vec<Record> {
    let record = |row| match row {
        FillRow::Subscription(subscription) => vec![Record::Subscription(subscription)],
        FillRow::Shadow(table, key, columns) => memory.put(&table, &key, columns),
    };
    chunk.into_iter().flat_map(record).collect()
}

fn report(rows: &mut u64, more: usize) {
    let before = *rows / 100_000;
    *rows += more as u64;
    if *rows / 100_000 > before {
        info!("snapshot: {rows} rows so far");
    }
}
