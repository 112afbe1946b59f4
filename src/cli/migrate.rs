//! `tailhook migrate`: makes the two tables and the publication.
use super::Source;

/// Makes Tailhook's tables and its publication; what is there already is left alone
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook migrate
  tailhook migrate --url postgres://postgres@127.0.0.1/erp    with a DBA's role
  tailhook migrate --print | psql erp                         read it first")]
pub(super) struct Arguments {
    /// Connects as this role instead of database.url's
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Prints the SQL and does nothing
    #[arg(long)]
    print: bool,
}

pub(super) fn main(arguments: Arguments, source: &Source) -> anyhow::Result<()> {
    let _config = source.load()?;
    let _ = (arguments.url, arguments.print);
    anyhow::bail!("not yet")
}

/// Makes the tables and the publication with the role of `url`.
pub(crate) async fn apply(_config: &crate::config::Config, _url: &str) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
