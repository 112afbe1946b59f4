//! Tidies the index after each of its durable writes, beside everything else. Knows no generations and no records.
use crate::fault;
use crate::store::engine::core::{Core, asked_to_close};
use crate::store::error::StoreError;
use crate::store::index::IndexError;
use std::sync::Arc;

/// Runs until the store closes. What fails for the disk's sake is tried again after the next write.
pub(in crate::store) async fn run(core: Arc<Core>) -> Result<(), StoreError> {
    let mut closing = core.closing.subscribe();
    loop {
        tokio::select! {
            biased;
            () = asked_to_close(&mut closing) => return Ok(()),
            () = core.settled.notified() => {}
        }
        while !core.is_closing() {
            fault::crash_point("index.before-compact");
            match core.offload(|core| core.index.compact()).await? {
                Ok(true) => {}
                Ok(false) => break,
                Err(IndexError::Disk(why)) => {
                    tracing::warn!(why, "the index cannot be tidied; it is tried again");
                    break;
                }
                Err(error) => return Err(core.failed(error)),
            }
            fault::crash_point("index.compacted");
        }
    }
}
