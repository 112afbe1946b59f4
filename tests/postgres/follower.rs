//! A reader of one slot for the tests: the real source and assembler, with a catalog lookup of its own.
use crate::cluster::Cluster;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tailhook::capture::{
    Assembler, BoxFuture, FillRow, FillRows, Frame, Lookups, PostgresSource, Settings, Source, SourceError,
    Step,
};
use tailhook::clock::SystemClock;
use tailhook::domain::{Cell, Change, Column, Lsn, ReplicaIdentity, Table, Transaction, TypeKind};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A source for a slot and publication `tailhook`.
pub fn source(cluster: &Arc<Cluster>, url: &str) -> PostgresSource {
    named(cluster, url, "tailhook")
}

/// A source for a slot and publication of this name.
pub fn named(cluster: &Arc<Cluster>, url: &str, name: &str) -> PostgresSource {
    let settings = Settings::new(url, name, name).expect("a good URL");
    let (catalog, rows) = (Arc::clone(cluster), Arc::clone(cluster));
    let lookups = Lookups {
        describe: Box::new(move |oid| {
            let table = describe(&catalog, oid);
            Box::pin(async move { Ok(table) })
        }),
        open_snapshot: Box::new(move |name, _| {
            let rows: Box<dyn FillRows> = Box::new(Rows(Some((Arc::clone(&rows), name))));
            Box::pin(async move { Ok(rows) })
        }),
    };
    PostgresSource::new(settings, lookups, Arc::new(SystemClock))
}

/// The ids of table `t` in a snapshot, all at once.
struct Rows(Option<(Arc<Cluster>, String)>);

impl FillRows for Rows {
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>> {
        let rows = self.0.take().map_or_else(Vec::new, |(cluster, name)| {
            let ids = cluster.sql(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{name}'; SELECT id FROM t ORDER BY 1"
            ));
            let row = |id: &str| FillRow::Shadow("public.t".into(), Bytes::copy_from_slice(id.as_bytes()), Bytes::new());
            ids.lines().map(row).collect()
        });
        Box::pin(async move { Ok(rows) })
    }
}

/// The catalog's description, by `psql`.
pub fn describe(cluster: &Cluster, oid: u32) -> Option<Table> {
    let rows = cluster.sql(&format!(
        "SELECT a.attname, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END,
                CASE WHEN t.typcategory = 'A' THEN e.oid END, coalesce(e.typdelim, ','), a.attnotnull,
                coalesce(array_position(i.indkey::int2[], a.attnum), -1)
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem
         LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    ));
    let mut key: Vec<(i32, usize)> = Vec::new();
    let mut columns = Vec::new();
    for (at, line) in rows.lines().enumerate() {
        let [name, own, element, delimiter, not_null, place] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let place: i32 = place.parse().expect("a number");
        if place >= 0 {
            key.push((place, at));
        }
        let kind = match element.parse() {
            Ok(element) => TypeKind::Array(Box::new(kind(element)), delimiter.as_bytes()[0]),
            Err(_) => kind(own.parse().expect("an object id")),
        };
        columns.push(Column { name: name.into(), kind, type_name: own.into(), not_null: not_null == "t" });
    }
    key.sort_unstable();
    (!columns.is_empty()).then(|| Table {
        oid,
        schema: "public".into(),
        name: "as described".into(),
        columns,
        primary_key: key.into_iter().map(|(_, at)| at).collect(),
        replica_identity: ReplicaIdentity::Default,
    })
}

fn kind(oid: u32) -> TypeKind {
    match oid {
        16 => TypeKind::Bool,
        20 | 21 | 23 => TypeKind::Integer,
        700 | 701 => TypeKind::Float,
        1700 => TypeKind::Numeric,
        1114 => TypeKind::Timestamp,
        1184 => TypeKind::TimestampTz,
        114 | 3802 => TypeKind::Json,
        _ => TypeKind::Text,
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
