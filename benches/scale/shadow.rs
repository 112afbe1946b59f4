//! A large table's first snapshot: filling the shadow, its checkpoint, the next start, a start without the index.
use crate::house::{House, TABLE, shadow, shadow_key};
use crate::report::{Watch, figure};
use std::path::Path;
use std::time::Duration;
use tailhook::store::Checkpoint;
use tokio::time::sleep;

/// Rows of one commit, as the snapshot is read.
const CHUNK: u64 = 1_000;
const LOOKUPS: u64 = 100_000;
/// More than 16 MiB of the journal, after which a checkpoint is due.
const AGAIN: u64 = 400_000;
const POLL: Duration = Duration::from_millis(10);

/// Fills it through the store's commit, and waits for the checkpoint that holds all of it.
pub(crate) async fn fill(folder: &Path, rows: u64) -> anyhow::Result<()> {
    let house = House::open(folder).await?;
    let watch = Watch::begin();
    for first in (0..rows).step_by(CHUNK as usize) {
        house.commit((first..(first + CHUNK).min(rows)).map(shadow).collect()).await?;
    }
    house.indexed().await;
    figure("first snapshot: per row", watch.seconds() * 1e6 / rows as f64, "µs");
    figure("first snapshot", watch.seconds(), "s");
    checkpoint(&house, rows).await?;
    let [journal, checkpoint, index] = house.bytes()?;
    figure("journal", journal as f64 / 1e6, "MB");
    figure("checkpoint file", checkpoint as f64 / 1e6, "MB");
    figure("index", index as f64 / 1e6, "MB");
    house.close().await
}

/// Waits for one that is under way, then writes rows again until the next one begins, and measures that.
async fn checkpoint(house: &House, rows: u64) -> anyhow::Result<()> {
    let under_way = || anyhow::Ok(house.checkpoint(false)?.is_some());
    while under_way()? {
        sleep(POLL).await;
    }
    let mut first = 0;
    while !under_way()? {
        if first < AGAIN.max(rows / 3) {
            house.commit((first..first + CHUNK).map(|n| shadow(n % rows)).collect()).await?;
            first += CHUNK;
        }
        sleep(POLL).await;
    }
    let watch = Watch::begin();
    while under_way()? {
        sleep(POLL).await;
    }
    figure("the checkpoint", watch.seconds(), "s");
    Ok(())
}

/// Opens it again and looks rows up.
pub(crate) async fn look(folder: &Path, rows: u64) -> anyhow::Result<()> {
    let watch = Watch::begin();
    let house = House::open(folder).await?;
    let after = house.after();
    figure(&format!("{after}open"), watch.seconds() * 1e3, "ms");
    let watch = Watch::begin();
    let look = move |checkpoint: &Checkpoint| {
        let mut n = 1_u64;
        for _ in 0..LOOKUPS {
            n = (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)) % rows;
            anyhow::ensure!(checkpoint.shadow(TABLE, &shadow_key(n))?.is_some(), "row {n} is forgotten");
        }
        Ok(())
    };
    house.store.checkpoint().offload(look).await??;
    figure(&format!("{after}a lookup"), watch.seconds() * 1e6 / LOOKUPS as f64, "µs");
    house.close().await
}
