//! Follows the subscriptions through a real slot, as capture does: nothing but those.
use std::sync::Arc;
use tailhook::capture::{
    Assembler, BoxFuture, CatalogLook, FillRow, FillRows, Frame, Lookups, PostgresSource, Settings, Source,
    SourceError, Step,
};
use tailhook::clock::SystemClock;
use tailhook::domain::{Lsn, Routing, Transaction};
use tailhook::postgres::session::Patience;
use tailhook::postgres::snapshot::{Rows as SnapshotRows, SUBSCRIPTION_COLUMNS, Snapshot};
use tailhook::postgres::url::Address;
use tailhook::postgres::{PgError, Session, catalog};
use tailhook::registry::rows::{RowChange, RowRules, changes, snapshot_row};
use tailhook::registry::seal::Sealer;
use tailhook::registry::{self, RefusedRows};
use tailhook::store::{Batch, Checkpoint, Record};
use tokio::sync::watch;

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: PgError) -> SourceError {
    SourceError::Retry(error.to_string())
}

/// The lookups that `app` lends: catalog and snapshot.
fn lookups(url: &str, sealer: &Sealer) -> Lookups {
    let (catalog_url, snapshot_url, sealer) = (url.to_string(), url.to_string(), sealer.clone());
    Lookups {
        describe: Arc::new(move |oid| {
            let url = catalog_url.clone();
            Box::pin(async move {
                let session = Session::connect(&url, Patience::ADMIN).await.map_err(failed)?;
                catalog::describe(session.client(), catalog::Which::Oid(oid), Some("tailhook"))
                    .await
                    .map_err(failed)
            })
        }),
        look: Arc::new(|| Box::pin(async { Ok(CatalogLook::default()) })),
        restore: Arc::new(|| Box::pin(async { Ok(()) })),
        heartbeat: Arc::new(|| Box::pin(async { Ok(()) })),
        open_snapshot: Arc::new(move |name, _| {
            let (url, sealer) = (snapshot_url.clone(), sealer.clone());
            Box::pin(async move {
                let snapshot = Snapshot::open(&url, &name, "tailhook", &[]).await.map_err(failed)?;
                Ok(Box::new(Fill { snapshot, sealer }) as Box<dyn FillRows>)
            })
        }),
    }
}

struct Fill {
    snapshot: Snapshot,
    sealer: Sealer,
}

impl FillRows for Fill {
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>> {
        Box::pin(async move {
            let Some(SnapshotRows::Subscriptions(rows)) = self.snapshot.next().await.map_err(failed)? else {
                return Ok(Vec::new());
            };
            let rules = RowRules { sealer: &self.sealer, url: &|_| Ok(()) };
            let put = |change| match change {
                RowChange::Put(subscription) => Some(FillRow::Subscription(subscription)),
                _ => None,
            };
            Ok(rows
                .iter()
                .filter_map(|row| snapshot_row(&SUBSCRIPTION_COLUMNS, row, rules))
                .filter_map(put)
                .collect())
        })
    }
}

/// Streams into the store until it is dropped; stands still while `held`.
pub async fn follow(
    url: String,
    sealer: Sealer,
    (checkpoint, refused): (Checkpoint, watch::Sender<Arc<RefusedRows>>),
    mut held: watch::Receiver<bool>,
) {
    let settings = Settings::new(Address::parse(&url).unwrap(), "tailhook", "tailhook");
    let mut source = PostgresSource::new(settings, lookups(&url, &sealer), Arc::new(SystemClock));
    source.survey().await.unwrap();
    let point = source.create_slot(&[]).await.unwrap();
    let mut records = Vec::new();
    loop {
        let rows = source.fill().await.unwrap();
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if let FillRow::Subscription(subscription) = row {
                records.push(Record::Subscription(subscription));
            }
        }
    }
    records.push(Record::Position(point));
    checkpoint.commit(Batch { records }).await.unwrap();
    source.start(point).await.unwrap();
    let mut assembler = Assembler::new(1 << 30);
    while let Ok(frame) = source.next().await {
        let Frame::Wal { start, data, .. } = frame else { continue };
        match assembler.feed(start, data).unwrap() {
            Step::Nothing => {}
            Step::Describe(oid) => {
                let table = source.describe(oid).await.unwrap();
                assembler.described(&table);
            }
            Step::Transaction(transaction) => {
                held.wait_for(|held| !*held).await.unwrap();
                let mut known = (**refused.borrow()).clone();
                let mut records = read(&checkpoint.routing(), &mut known, &transaction, &sealer);
                records.push(Record::Position(Lsn(transaction.end_lsn.0)));
                checkpoint.commit(Batch { records }).await.unwrap();
                refused.send_replace(Arc::new(known));
            }
        }
    }
}

fn read(
    routing: &Routing,
    refused: &mut RefusedRows,
    transaction: &Transaction,
    sealer: &Sealer,
) -> Vec<Record> {
    let (mut routing, mut records) = (routing.clone(), Vec::new());
    for change in transaction.changes.iter().filter(|c| c.table.name == "webhook_subscriptions") {
        for change in changes(change, &routing, RowRules { sealer, url: &|_| Ok(()) }) {
            records.push(registry::apply(change, &mut routing, refused));
        }
    }
    records
}
