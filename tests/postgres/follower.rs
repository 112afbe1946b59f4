//! A reader of one slot for the tests: the real source and assembler, the real catalog.
use crate::cluster::Cluster;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tailhook::capture::{
    Assembler, BoxFuture, CatalogLook, FillRow, FillRows, Frame, Lookups, PostgresSource, Settings, Source,
    SourceError, Step,
};
use tailhook::clock::SystemClock;
use tailhook::domain::{Cell, Change, Lsn, Transaction};
use tailhook::postgres::catalog::{self, Which};
use tailhook::postgres::session::Patience;
use tailhook::postgres::url::Address;
use tailhook::postgres::{PgError, Session};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A source for a slot and publication `tailhook`.
pub fn source(cluster: &Arc<Cluster>, url: &str) -> PostgresSource {
    named(cluster, url, "tailhook")
}

/// A source for a slot and publication of this name.
pub fn named(cluster: &Arc<Cluster>, url: &str, name: &str) -> PostgresSource {
    let address = Address::parse(url).expect("a good URL");
    let settings = Settings::new(address, name, name);
    let (url, publication, rows) = (url.to_owned(), name.to_owned(), Arc::clone(cluster));
    let lookups = Lookups {
        describe: Arc::new(move |oid| {
            let (url, publication) = (url.clone(), publication.clone());
            Box::pin(async move {
                let described = async {
                    let session = Session::connect(&url, Patience::ADMIN).await?;
                    catalog::describe(session.client(), Which::Oid(oid), Some(&publication)).await
                };
                described.await.map_err(|error: PgError| SourceError::Retry(error.to_string()))
            })
        }),
        open_snapshot: Arc::new(move |name, _| {
            let rows: Box<dyn FillRows> = Box::new(Rows(ids(&rows, &name)));
            Box::pin(async move { Ok(rows) })
        }),
        look: Arc::new(|| Box::pin(async { Ok(CatalogLook::default()) })),
        restore: Arc::new(|| Box::pin(async { Ok(()) })),
        heartbeat: Arc::new(|| Box::pin(async { Ok(()) })),
    };
    PostgresSource::new(settings, lookups, Arc::new(SystemClock))
}

/// The ids of table `t` in a snapshot.
fn ids(cluster: &Cluster, snapshot: &str) -> Vec<FillRow> {
    let ids = cluster.sql(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'; SELECT id FROM t ORDER BY 1"
    ));
    let row =
        |id: &str| FillRow::Shadow("public.t".into(), Bytes::copy_from_slice(id.as_bytes()), Bytes::new());
    ids.lines().map(row).collect()
}

/// Rows that are given all at once.
struct Rows(Vec<FillRow>);

impl FillRows for Rows {
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>> {
        let rows = std::mem::take(&mut self.0);
        Box::pin(async move { Ok(rows) })
    }
}

/// Ends a wait that would never end.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Follows one slot.
pub struct Follower {
    pub source: PostgresSource,
    assembler: Assembler,
}

impl Follower {
    /// Makes the slot and streams from it.
    pub async fn create(mut source: PostgresSource) -> Self {
        source.survey().await.expect("connects");
        let point = source.create_slot(&[]).await.expect("a slot");
        source.start(point).await.expect("streams");
        Self { source, assembler: Assembler::new(1 << 30) }
    }

    /// Connects anew and streams from a position.
    pub async fn resume(&mut self, from: Lsn) -> Result<(), SourceError> {
        self.source.survey().await?;
        self.assembler = Assembler::new(1 << 30);
        self.source.start(from).await
    }

    /// The next transaction that has changes.
    pub async fn transaction(&mut self) -> Result<Transaction, SourceError> {
        soon(self.read()).await
    }

    async fn read(&mut self) -> Result<Transaction, SourceError> {
        loop {
            let Frame::Wal { start, data, .. } = self.source.next().await? else { continue };
            match self.assembler.feed(start, data)? {
                Step::Nothing => {}
                Step::Describe(oid) => {
                    let table = self.source.describe(oid).await?;
                    self.assembler.described(&table);
                }
                Step::Transaction(transaction) if transaction.changes.is_empty() => {}
                Step::Transaction(transaction) => return Ok(*transaction),
            }
        }
    }

    /// The next transaction's changes as lines: `insert public.t: old -> new`.
    pub async fn lines(&mut self) -> Vec<String> {
        let transaction = self.transaction().await.expect("a transaction");
        transaction.changes.iter().map(line).collect()
    }
}

/// `-` is SQL's NULL, `?` what was not sent.
fn line(change: &Change) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Null => "-".to_owned(),
        Cell::NotSent => "?".to_owned(),
        Cell::Json(json) => String::from_utf8_lossy(json).into_owned(),
    };
    let image = |image: &Option<Vec<Cell>>| {
        image.as_ref().map_or_else(String::new, |cells| cells.iter().map(cell).collect::<Vec<_>>().join(" "))
    };
    let line = format!(
        "{} {}: {} -> {}",
        change.op.as_str(),
        change.table.full_name(),
        image(&change.old),
        image(&change.new)
    );
    line.replace(":  ", ": ").trim_end().to_owned()
}
