//! Lends ordinary SQL to capture: the catalog's descriptions and the rows of a snapshot. Knows no protocol.
use crate::capture::follow::batch::UrlCheck;
use crate::capture::{BoxFuture, CatalogLook, FillRow, FillRows, Lookups, SourceError, TableStanding};
use crate::domain::{Cell, Secret};
use crate::mapping::rows::shadow::TablePlan;
use crate::postgres::catalog::{self, Which};
use crate::postgres::publication::{self, Wanted};
use crate::postgres::session::Patience;
use crate::postgres::snapshot::{Rows, SUBSCRIPTION_COLUMNS, ShadowTable, Snapshot};
use crate::postgres::{PgError, Session, TableName, slot, standing};
use crate::registry::rows::{self, RowChange};
use crate::registry::seal::Sealer;
use std::sync::Arc;
use tokio::sync::Mutex;
use tracing::{info, warn};

/// The connection that looks at the catalog, until it breaks.
type Watching = Mutex<Option<Session>>;

/// What the lookups need.
#[derive(Clone)]
pub(super) struct Lender {
    /// `database.url`
    pub(super) url: Secret,
    /// `database.schema`
    pub(super) schema: String,
    /// `database.publication`
    pub(super) publication: String,
    /// The mapped tables.
    pub(super) mapped: Vec<Wanted>,
    /// Seals secrets of rows that SQL wrote.
    pub(super) sealer: Sealer,
    /// Judges their URLs.
    pub(super) check_url: UrlCheck,
}

impl Lender {
    /// What `PostgresSource` asks for.
    pub(super) fn lookups(self) -> Lookups {
        let (describing, opening) = (self.clone(), self.clone());
        let (looking, beating) = (self.clone(), self.clone());
        let watching: Arc<Watching> = Arc::default();
        Lookups {
            describe: Arc::new(move |oid| {
                let lender = describing.clone();
                Box::pin(async move { lender.describe(oid).await.map_err(explain) })
            }),
            open_snapshot: Arc::new(move |name, tables| {
                let lender = opening.clone();
                Box::pin(async move { lender.open(&name, tables).await.map_err(explain) })
            }),
            look: Arc::new(move || {
                let (lender, watching) = (looking.clone(), watching.clone());
                Box::pin(async move { lender.look(&watching).await.map_err(explain) })
            }),
            heartbeat: Arc::new(move || {
                let lender = beating.clone();
                Box::pin(async move { lender.heartbeat().await.map_err(explain) })
            }),
            restore: Arc::new(move || {
                let lender = self.clone();
                Box::pin(async move { lender.restore().await.map_err(explain) })
            }),
        }
    }

    async fn describe(&self, oid: u32) -> Result<Option<crate::domain::Table>, PgError> {
        let session = Session::connect(self.url.expose(), Patience::ADMIN).await?;
        catalog::describe(session.client(), Which::Oid(oid), Some(&self.publication)).await
    }

    /// On one connection that is kept: a new one every few seconds would cost the server more than the look.
    async fn look(&self, watching: &Watching) -> Result<CatalogLook, PgError> {
        let mut kept = watching.lock().await;
        // one that was idle may be broken
        if let Some(session) = kept.take()
            && let Ok(look) = self.look_by(&session).await
        {
            *kept = Some(session);
            return Ok(look);
        }
        let session = Session::connect(self.url.expose(), Patience::REQUEST).await?;
        let look = self.look_by(&session).await?;
        *kept = Some(session);
        Ok(look)
    }

    async fn look_by(&self, session: &Session) -> Result<CatalogLook, PgError> {
        let names: Vec<TableName> = self.mapped.iter().map(|wanted| wanted.table.clone()).collect();
        let (at, standings) = standing::look(session.client(), &self.publication, &names).await?;
        let standing = |standing: standing::CatalogStanding| TableStanding {
            table: names[standing.place].to_string(),
            described: standing.table,
            membership: standing.membership,
        };
        let at = at.parse().map_err(PgError::Statement)?;
        Ok(CatalogLook { at, tables: standings.into_iter().map(standing).collect() })
    }

    async fn restore(&self) -> Result<(), PgError> {
        let mut session = Session::connect(self.url.expose(), Patience::ADMIN).await?;
        let mut wanted = self.mapped.clone();
        wanted.push(TableName::subscriptions(&self.schema).into());
        let done = publication::ensure(&mut session, &self.publication, &wanted).await?;
        for statement in done.sql {
            info!("publication: {statement}");
        }
        Ok(())
    }

    async fn heartbeat(&self) -> Result<(), PgError> {
        let session = Session::connect(self.url.expose(), Patience::REQUEST).await?;
        slot::heartbeat(session.client()).await
    }

    async fn open(&self, snapshot: &str, tables: Vec<TablePlan>) -> Result<Box<dyn FillRows>, PgError> {
        let session = Session::connect(self.url.expose(), Patience::ADMIN).await?;
        let mut shadows = Vec::with_capacity(tables.len());
        for plan in tables {
            let name = TableName::new(&plan.schema, &plan.name);
            // a table of optional rules may be missing
            let found = catalog::describe(session.client(), Which::Name(&name), None).await?;
            if let Some(table) = found {
                let key = table.primary_key.iter().filter_map(|at| table.columns.get(*at));
                let key = key.map(|column| column.name.to_string()).collect();
                let tracked = plan.columns.iter().map(ToString::to_string).collect();
                shadows.push((plan, ShadowTable { table: name, key, tracked }));
            }
        }
        let (plans, shadows): (Vec<_>, Vec<_>) = shadows.into_iter().unzip();
        let keys = shadows.iter().map(|shadow| shadow.key.len()).collect();
        let snapshot = Snapshot::open(self.url.expose(), snapshot, &self.schema, &shadows).await?;
        let (sealer, check_url) = (self.sealer.clone(), self.check_url.clone());
        Ok(Box::new(Filling { snapshot, plans, keys, sealer, check_url }))
    }
}

struct Filling {
    snapshot: Snapshot,
    plans: Vec<TablePlan>,
    /// Columns of each table's key; the tracked ones follow them.
    keys: Vec<usize>,
    sealer: Sealer,
    check_url: UrlCheck,
}

impl FillRows for Filling {
    fn next_rows(&mut self) -> BoxFuture<'_, Result<Vec<FillRow>, SourceError>> {
        Box::pin(async move {
            loop {
                let Some(rows) = self.snapshot.next().await.map_err(explain)? else { return Ok(Vec::new()) };
                let filled = self.convert(rows)?;
                // a page of rows that are all refused is not the end
                if !filled.is_empty() {
                    return Ok(filled);
                }
            }
        })
    }
}

impl Filling {
    fn convert(&self, rows: Rows) -> Result<Vec<FillRow>, SourceError> {
        match rows {
            Rows::Subscriptions(rows) => {
                Ok(rows.iter().filter_map(|values| self.subscription(values)).collect())
            }
            Rows::Shadow(at, rows) => {
                let (Some(plan), Some(key)) = (self.plans.get(at), self.keys.get(at)) else {
                    return Ok(Vec::new());
                };
                rows.into_iter().map(|values| shadow_row(plan, *key, values)).collect()
            }
        }
    }

    fn subscription(&self, values: &[Option<String>]) -> Option<FillRow> {
        let rules = rows::RowRules { sealer: &self.sealer, url: &*self.check_url };
        match rows::snapshot_row(&SUBSCRIPTION_COLUMNS, values, rules)? {
            RowChange::Put(subscription) => Some(FillRow::Subscription(subscription)),
            RowChange::Refused(id, why) => {
                warn!("subscription {id} is not routed: {why}");
                None
            }
            RowChange::Gone(_) | RowChange::Cleared => None,
        }
    }
}

fn shadow_row(plan: &TablePlan, key: usize, values: Vec<Option<String>>) -> Result<FillRow, SourceError> {
    let cell = |value: Option<String>| value.map_or(Cell::Null, |json| Cell::Json(json.into()));
    let cells: Vec<Cell> = values.into_iter().map(cell).collect();
    let (key, columns) = cells.split_at(key.min(cells.len()));
    let encoded = plan.encode_row(key, columns);
    let (key, columns) = encoded.ok_or_else(|| {
        SourceError::Operator(format!(
            "{}: a row without a whole primary key cannot be remembered",
            plan.table
        ))
    })?;
    Ok(FillRow::Shadow(Arc::clone(&plan.table), key, columns))
}

fn explain(error: PgError) -> SourceError {
    match error {
        PgError::Unreachable(why) | PgError::Busy(why) => SourceError::Retry(why),
        PgError::Login(why) => SourceError::RetrySlowly(why),
        PgError::Privilege(why) | PgError::Setup(why) | PgError::NotYet(why) | PgError::Statement(why) => {
            SourceError::Operator(why)
        }
    }
}
