//! Purpose: a batch on its way from a handle to the log. Must not: decide when it is written.
use crate::store::error::StoreError;
use crate::store::index::overlay::Fetched;
use crate::store::log::group::{self, Piece};
use crate::store::records::codec::RecordPlace;
use crate::store::records::record::{Batch, Record};
use tokio::sync::oneshot;

/// A batch on its way.
#[derive(Debug)]
pub(in crate::store) struct Queued {
    /// One frame each.
    pub(in crate::store) pieces: Vec<Piece>,
    pub(in crate::store) records: Vec<Record>,
    /// No delivery of it can be in the store.
    pub(in crate::store) unseen: bool,
    /// What the index says of the keys that its records need.
    pub(in crate::store) fetched: Fetched,
    pub(in crate::store) answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Queued {
    /// Of no caller: what a frame that is in the log already says.
    pub(in crate::store) fn read(batch: Batch, places: Vec<RecordPlace>, fetched: Fetched) -> Self {
        let Batch { records } = batch;
        let pieces = vec![Piece { records: 0..records.len(), body: Vec::new(), places }];
        Self { pieces, records, unseen: false, fetched, answer: oneshot::channel().0 }
    }
    /// Of no caller: a frame that says nothing.
    pub(in crate::store) fn empty() -> Self {
        let (records, fetched) = (Vec::new(), Fetched::default());
        Self { pieces: group::pieces(&[], 0), records, unseen: false, fetched, answer: oneshot::channel().0 }
    }
    pub(in crate::store) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.body.len()).sum()
    }
}

/// Answers all of them.
pub(in crate::store) fn answer(batch: Vec<Queued>, result: &Result<(), StoreError>) {
    for queued in batch {
        // a caller that has gone away does not mind
        let _ = queued.answer.send(result.clone());
    }
}
