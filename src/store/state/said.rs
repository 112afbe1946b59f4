//! Purpose: what a frame of the log says, as records. Must not: apply it, or read a log.
use crate::store::error::StoreError;
use crate::store::log::frame::Kind;
use crate::store::log::group;
use crate::store::log::port::{FrameNo, Log, StoredFrame};
use crate::store::log::segment;
use crate::store::records::codec::RecordPlace;
use crate::store::records::record::Batch;

/// What a frame says; a header says nothing here.
pub(in crate::store) fn said(
    log: &dyn Log,
    frame: &StoredFrame,
) -> Result<(Batch, Vec<RecordPlace>), StoreError> {
    read(frame.kind, frame.at.number, &frame.body, || log.describe(frame.at.place))
}

/// The same out of its file.
pub(in crate::store) fn read(
    kind: Kind,
    number: FrameNo,
    body: &[u8],
    place: impl FnOnce() -> String,
) -> Result<(Batch, Vec<RecordPlace>), StoreError> {
    match kind {
        Kind::Header => Ok((Batch::default(), Vec::new())),
        Kind::Batch | Kind::Part | Kind::Seal => {
            group::decode(kind, body).map_err(|what| segment::unknown_record(what, number, &place()))
        }
    }
}
