//! Fills subscriptions and shadow from a snapshot: once when the slot is made, and again where the stream reaches the
//! point of a later snapshot, when a changed mapping remembers more. Streams nothing itself.
use crate::capture::follow::feedback::Progress;
use crate::capture::follow::memory::Memory;
use crate::capture::follow::run::{CaptureParts, SessionError};
use crate::capture::source::{FillRow, Source, Survey};
use crate::domain::Lsn;
use crate::fault;
use crate::mapping::Plan;
use crate::registry::Routing;
use crate::store::{Batch, Identity, Record, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// The server hears of us at least this often while rows are read.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Makes the slot and takes its snapshot; the position is the last thing written.
pub(in crate::capture) async fn first<S: Source>(
    parts: &mut CaptureParts<S>,
    survey: &Survey,
) -> Result<Lsn, SessionError> {
    let plan = parts.rules.mapping.plan();
    let identity = Identity {
        system_id: survey.system_id.clone(),
        timeline: survey.timeline,
        database: survey.database.clone(),
        shadow_plan: plan.text(),
        ..parts.identity.clone()
    };
    let memory = Memory::new(plan, "");
    let tables: Vec<_> = memory.unfilled().cloned().collect();
    parts.store.commit(Batch { records: vec![Record::Filling(identity.clone())] }).await?;
    fault::crash_point("first.noted");
    let from = parts.source.create_slot(&tables).await?;
    fault::crash_point("first.slot");
    let mut unseen: Vec<_> = parts.store.subscriptions().iter().map(|s| s.id).collect();
    let mut rows = 0_u64;
    loop {
        let chunk = parts.source.fill().await?;
        if chunk.is_empty() {
            break;
        }
        report(&mut rows, chunk.len());
        unseen.retain(|id| !chunk.iter().any(|row| matches!(row, FillRow::Subscription(s) if s.id == *id)));
        parts.store.commit(Batch { records: records(chunk, &memory) }).await?;
        fault::crash_point("first.chunk");
    }
    fault::crash_point("first.filled");
    let mut records: Vec<_> = unseen.into_iter().map(Record::SubscriptionGone).collect();
    records.extend([Record::Identity(identity), Record::Position(from)]);
    parts.store.commit(Batch { records }).await?;
    fault::crash_point("first.complete");
    parts.routing.send_replace(Arc::new(Routing::load(parts.store.subscriptions(), from)));
    info!("first snapshot complete: {rows} rows as of {from}");
    Ok(from)
}

/// Before the stream: takes a snapshot if the mapping remembers more than what was filled. Until the stream has reached
/// its point (the answer), rules that need the new memory match nothing.
pub(in crate::capture) async fn prepare<S: Source>(
    parts: &mut CaptureParts<S>,
) -> Result<Option<Lsn>, SessionError> {
    let mut memory = memory(parts);
    if memory.is_settled() {
        return Ok(None);
    }
    let tables: Vec<_> = memory.unfilled().cloned().collect();
    if tables.is_empty() {
        complete(&parts.store, parts.rules.mapping.plan(), &mut memory).await?;
        return Ok(None);
    }
    note(&parts.store, memory.abandon(), memory.begun()).await?;
    let at = parts.source.snapshot(&tables).await?;
    fault::crash_point("again.snapshot");
    let names: Vec<_> = tables.iter().map(|table| table.table.to_string()).collect();
    info!("the mapping remembers more of {}: filling as of {at}", names.join(", "));
    Ok(Some(at))
}

/// Where rows lie now, by what the store says was filled.
pub(in crate::capture) fn memory<S>(parts: &CaptureParts<S>) -> Memory {
    let filled = parts.store.identity().map(|identity| identity.shadow_plan).unwrap_or_default();
    Memory::new(parts.rules.mapping.plan(), &filled)
}

/// The stream stands exactly at the snapshot's point: takes its rows.
pub(in crate::capture) async fn again<S: Source>(
    parts: &mut CaptureParts<S>,
    memory: &mut Memory,
    progress: &Progress,
) -> Result<(), SessionError> {
    let mut rows = 0_u64;
    let mut told = Instant::now();
    loop {
        let chunk = parts.source.fill().await?;
        if chunk.is_empty() {
            break;
        }
        report(&mut rows, chunk.len());
        // subscriptions have been followed all along
        let shadow = chunk.into_iter().filter(|row| matches!(row, FillRow::Shadow(..))).collect();
        parts.store.commit(Batch { records: records(shadow, memory) }).await?;
        fault::crash_point("again.chunk");
        if told.elapsed() >= STATUS_INTERVAL {
            parts.source.feedback(progress.feedback()).await?;
            told = Instant::now();
        }
    }
    fault::crash_point("again.filled");
    complete(&parts.store, parts.rules.mapping.plan(), memory).await?;
    fault::crash_point("again.complete");
    info!("the shadow is filled: {rows} rows; all rules are in effect");
    Ok(())
}

async fn complete(store: &Store, plan: &Plan, memory: &mut Memory) -> Result<(), SessionError> {
    note(store, memory.complete(), plan.text()).await
}

/// Which lines rows lie under from now on.
async fn note(store: &Store, mut records: Vec<Record>, lines: String) -> Result<(), SessionError> {
    let Some(identity) = store.identity() else { return Ok(()) };
    records.push(Record::Identity(Identity { shadow_plan: lines, ..identity }));
    Ok(store.commit(Batch { records }).await?)
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
