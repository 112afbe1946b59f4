//! The slot as ordinary SQL sees it: how much WAL it holds back, and the heartbeat that keeps it moving. Streams nothing.
use super::error::PgError;
use tokio_postgres::Client;

/// How a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotHealth {
    /// Bytes of WAL written and not yet confirmed.
    pub lag_bytes: i64,
    /// Bytes until `max_slot_wal_keep_size` loses the slot; `None`: no limit is set.
    pub safe_wal_bytes: Option<i64>,
}

/// `None`: there is no such slot.
pub async fn health(client: &Client, slot: &str) -> Result<Option<SlotHealth>, PgError> {
    let row = client
        .query_opt(
            "SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::int8, safe_wal_size \
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .await?;
    Ok(row.map(|row| SlotHealth { lag_bytes: row.get(0), safe_wal_bytes: row.get(1) }))
}

/// A transactional message: the non-transactional form is not flushed (DESIGN 3).
pub async fn heartbeat(client: &Client) -> Result<(), PgError> {
    client.execute("SELECT pg_logical_emit_message(true, 'tailhook.heartbeat', '')", &[]).await?;
    Ok(())
}
