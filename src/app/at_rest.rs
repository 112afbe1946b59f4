//! No clear credential at rest: what earlier versions left in the data folder and in the table is sealed at a start, before anything
//! streams. Must not depend on a running stage.
use super::open_store;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::domain::Secret;
use crate::postgres::headers::{self, ClearRow};
use crate::postgres::session::Patience;
use crate::postgres::{PgError, Session, TableName};
use crate::registry::seal::{Field, Sealer};
use crate::store::{self, Store, index::engine};
use crate::telemetry::Metrics;
use anyhow::Context as _;
use serde_json::Value;
use std::sync::Arc;
use tracing::{info, warn};

/// A file that stands for: nothing in this folder is older than the sealing of header values. Made when that is so; an ordinary
/// start reads nothing but the folder's list.
const MARK: &str = "sealed-fields";
/// What the index of an earlier version holds where a subscription has headers.
const CLEAR_HEADERS: &[u8] = b"\"headers\":{";

/// Gives the store back; rewritten and opened anew, if the folder holds clear credentials, or may.
pub(super) async fn folder(
    config: &Config,
    disk: Arc<RealDisk>,
    store: Store,
    sealer: &Sealer,
    (metrics, clock): (&Metrics, &SharedClock),
) -> anyhow::Result<Store> {
    let place = || format!("store.path = \"{}\"", config.data_folder.display());
    let marked = disk.list().with_context(place)?.iter().any(|name| name == MARK);
    if sealer.is_plaintext() {
        // what is written from now on is clear
        if marked {
            disk.remove(MARK).await.with_context(place)?;
        }
        return Ok(store);
    }
    // with the mark too: an earlier version may have run in this folder since
    let subscriptions = store.checkpoint().subscriptions();
    let clear = subscriptions.iter().any(|s| sealer.seal_clear(s).is_some());
    if marked && !clear {
        return Ok(store);
    }
    if !sealer.fits(&subscriptions) {
        anyhow::bail!(
            "[secrets]: this master key opens none of the secrets in {}, where there are credentials to be sealed: \
             put the right one back",
            place()
        );
    }
    // closes the index
    drop(store);
    if marked {
        disk.remove(MARK).await.with_context(place)?;
    }
    rewrite(config, &disk, sealer).await.with_context(place)?;
    let store = open_store(config, disk.clone(), metrics, clock).await?;
    disk.create(MARK).await.with_context(place)?;
    Ok(store)
}

/// Ends with nothing clear in journal and checkpoint, and without an index if that may hold any.
async fn rewrite(config: &Config, disk: &RealDisk, sealer: &Sealer) -> anyhow::Result<()> {
    let files = store::reseal(disk, &|subscription| sealer.seal_clear(subscription)).await?;
    let index = config.data_folder.join("index");
    engine::discard(&engine::aside(&index)).context("the index that was moved aside")?;
    if !files.is_empty() || engine::holds(&index, CLEAR_HEADERS)? {
        store::mark_rebuild(disk).await?;
        engine::discard(&index).context("the index")?;
    }
    if !files.is_empty() {
        info!(files = files.join(" "), "credentials that an earlier version kept in the clear are sealed");
    }
    for name in disk.list()?.iter().filter(|name| name.starts_with("salvage-")) {
        warn!(
            "{name} is kept as it was salvaged and may hold credentials in the clear: remove it when it is no longer needed"
        );
    }
    Ok(())
}

/// Seals the header values that the API of an earlier version wrote in the clear into the table. What cannot be sealed is a
/// warning: the sidecar itself works with either.
pub(super) async fn table(config: &Config, store: &Store, sealer: &Sealer) {
    if sealer.is_plaintext() || !sealer.fits(&store.checkpoint().subscriptions()) {
        return;
    }
    let name = TableName::subscriptions(&config.database.schema);
    let left = match seal_rows(config, sealer).await {
        Ok(0) => return,
        Ok(left) => format!("{left} rows hold"),
        Err(error) if error.is_transient() => return,
        Err(error) => format!("({error}) rows may hold"),
    };
    warn!(
        "{name}: {left} header values in the clear that the role of database.api_url may not replace; \
         GRANT SELECT, UPDATE ON {name} to it and start again, or write them again through the API"
    );
}

/// Returns how many rows are still clear.
async fn seal_rows(config: &Config, sealer: &Sealer) -> Result<usize, PgError> {
    let (database, schema) = (&config.database, &config.database.schema);
    let streaming = Session::connect(database.url.expose(), Patience::ADMIN).await?;
    let rows = headers::clear(&streaming, schema).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let api_url = database.api_url.as_ref().unwrap_or(&database.url);
    let mut api = Session::connect(api_url.expose(), Patience::ADMIN).await?;
    let mut sealed = 0;
    for row in &rows {
        sealed += usize::from(headers::replace(&mut api, schema, row, &seal_row(sealer, row)).await?);
    }
    info!(rows = sealed, "header values that an earlier version kept in the clear are sealed in the table");
    Ok(headers::clear(&streaming, schema).await?.len())
}

/// The headers with every clear text sealed, as the stream would seal it.
fn seal_row(sealer: &Sealer, row: &ClearRow) -> Value {
    let mut headers = row.headers.clone();
    for (name, value) in headers.as_object_mut().into_iter().flatten() {
        if let Value::String(text) = value
            && !Sealer::is_sealed(text)
        {
            let name = name.to_ascii_lowercase();
            let field = Field::Header(&name);
            let sealed = sealer.seal_row(row.id, field, &Secret::new(text.as_str()));
            *value = Value::String(sealed.as_str().to_owned());
        }
    }
    headers
}
