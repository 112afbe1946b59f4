//! What the data folder keeps, and how long.
use std::time::Duration;

/// The `[store]` section, without its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Finished deliveries are kept this long.
    pub history: Duration,
    /// And at most about this many: the surplus goes within minutes.
    pub history_max: u64,
    /// Less free disk than this counts as full.
    pub min_free: u64,
    /// Bytes after which a new segment begins (64 MiB; smaller in tests).
    pub segment_bytes: u64,
    /// How often old deliveries and segments are looked for.
    pub upkeep_every: Duration,
    /// No larger batch is taken, in encoded bytes; never more than a frame holds.
    pub batch_bytes: usize,
    /// A larger batch becomes a group of several frames, in encoded bytes (DESIGN 4; small in tests).
    pub frame_bytes: usize,
}

impl Default for StoreSettings {
    /// SPEC 3's defaults.
    fn default() -> Self {
        Self {
            history: Duration::from_secs(7 * 24 * 3600),
            history_max: 1_000_000,
            min_free: 1 << 30,
            segment_bytes: 64 << 20,
            upkeep_every: Duration::from_secs(60),
            batch_bytes: usize::MAX,
            frame_bytes: 900 << 10,
        }
    }
}
