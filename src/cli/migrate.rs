//! `tailhook migrate`: makes the two tables and the publication.
use super::{ConfigSource, block_on, say, warn};
use crate::app::preflight;
use crate::config::Config;
use crate::postgres::migrate::{self, MigrationPlan, Script};
use crate::postgres::session::{Patience, Session};
use crate::postgres::url::DatabaseUrl;
use anyhow::Context;

/// Makes Tailhook's tables and publication; leaves alone what is there already
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook migrate
  tailhook migrate --url postgres://postgres@127.0.0.1/erp    with a DBA's role
  tailhook migrate --print | psql erp                         after you have read it")]
pub(super) struct MigrateArguments {
    /// Connects with this URL instead of database.url, for a DBA's role
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Prints the missing SQL and changes nothing
    #[arg(long)]
    print: bool,
}

pub(super) fn main(arguments: MigrateArguments, source: &ConfigSource) -> anyhow::Result<()> {
    let config = source.load()?;
    let url = arguments.url.unwrap_or_else(|| config.database.url.expose().to_owned());
    let script = block_on(async {
        if arguments.print {
            let session = Session::connect(&url, Patience::ADMIN).await?;
            return Ok(migrate::script(session.client(), &plan(&config)?).await?);
        }
        apply(&config, &url).await
    })?;
    for table in &script.missing {
        warn(&format!(
            "tailhook: {table} does not exist, so it is not published; its rules cannot give events"
        ));
    }
    for table in &script.superfluous {
        let (table, publication) = (&table.table, &table.publication);
        warn(&format!("tailhook: the publication {publication} has {table}, which no rule needs"));
    }
    if arguments.print {
        say(&script.sql.join("\n"))?;
    } else if script.sql.is_empty() {
        say("nothing to do")?;
    } else {
        say(&format!("done: {} statements", script.sql.len()))?;
    }
    Ok(())
}

/// Makes what is missing, with the role of `url`.
async fn apply(config: &Config, url: &str) -> anyhow::Result<Script> {
    let plan = plan(config)?;
    let mut session = Session::connect(url, Patience::ADMIN).await?;
    Ok(migrate::migrate(&mut session, &plan).await?)
}

fn plan(config: &Config) -> anyhow::Result<MigrationPlan> {
    let database = &config.database;
    let api_url = database.api_url.as_ref().unwrap_or(&database.url);
    Ok(MigrationPlan {
        schema: database.schema.clone(),
        publication: database.publication.clone(),
        tables: preflight::mapped(config),
        streaming_role: role(database.url.expose())?,
        api_role: role(api_url.expose())?,
    })
}

/// The role in a URL, if it names one.
fn role(url: &str) -> anyhow::Result<Option<String>> {
    let url = DatabaseUrl::parse(url).context("[database]")?;
    Ok(url.user().map(str::to_owned))
}
