//! Finished deliveries: what a further one costs, and what a page of a list costs, whatever lies behind.
use crate::house::{Deliveries, House, tenant};
use crate::report::{Watch, figure};
use std::path::Path;
use tailhook::domain::{FilterStatus, Status};
use tailhook::store::Filter;
use tokio::time::Instant;

/// Events of one commit; dispatch gathers about as many outcomes under load.
const BATCH: u64 = 100;
/// There is always a page to show.
const FEWEST: u64 = 1_000;
const FURTHER: u64 = 20_000;
const PAGES: usize = 200;

/// Makes the history.
pub(crate) async fn fill(folder: &Path, size: u64) -> anyhow::Result<()> {
    let house = House::open(folder).await?;
    let size = size.max(FEWEST);
    let deliveries = Deliveries::new(size + FURTHER, 100)?;
    let watch = Watch::begin();
    deliver(&house, &deliveries, 0..size).await?;
    house.indexed().await;
    figure("filling: per delivery", watch.seconds() * 1e6 / size as f64, "µs");
    let watch = Watch::begin();
    deliver(&house, &deliveries, size..size + FURTHER).await?;
    house.indexed().await;
    figure("a further delivery: time", watch.seconds() * 1e6 / FURTHER as f64, "µs");
    figure("a further delivery: CPU", watch.cpu_seconds() * 1e6 / FURTHER as f64, "µs");
    let [journal, _, index] = house.bytes()?;
    figure("journal", journal as f64 / 1e6, "MB");
    figure("index", index as f64 / 1e6, "MB");
    house.close().await
}

async fn deliver(
    house: &House,
    deliveries: &Deliveries,
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let mut at = numbers.start;
    while at < numbers.end {
        let end = (at + BATCH).min(numbers.end);
        let (records, keys) = deliveries.captured(at..end);
        house.commit(records).await?;
        house.commit(deliveries.delivered(keys)).await?;
        at = end;
    }
    Ok(())
}

/// Opens it again and lists.
pub(crate) async fn lists(folder: &Path, _size: u64) -> anyhow::Result<()> {
    let watch = Watch::begin();
    let house = House::open(folder).await?;
    figure("open", watch.seconds() * 1e3, "ms");
    let newest = Filter { limit: 100, ..Filter::default() };
    page(&house, "list: the newest page", &newest).await?;
    let failed = Filter { status: Some(FilterStatus::Is(Status::Failed)), ..newest.clone() };
    page(&house, "list: a filter that finds nothing", &failed).await?;
    let watch = Watch::begin();
    let (mut pages, mut filter) = (0, newest);
    while pages < PAGES {
        let page = house.store.history().list(&tenant(), &filter).await?;
        pages += 1;
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    figure("list: a page of the way down", watch.seconds() * 1e6 / pages as f64, "µs");
    house.close().await
}

/// The median of some calls.
async fn page(house: &House, name: &str, filter: &Filter) -> anyhow::Result<()> {
    let _watch = Watch::begin();
    let mut took = Vec::new();
    for _ in 0..PAGES / 4 {
        let began = Instant::now();
        house.store.history().list(&tenant(), filter).await?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    figure(name, took[took.len() / 2].as_secs_f64() * 1e6, "µs");
    Ok(())
}
