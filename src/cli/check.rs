//! `tailhook check`: would `run` work here?
use super::Source;

/// Checks the file and, with a database, everything that must hold there
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook check
  tailhook check --config /etc/tailhook/tailhook.toml")]
pub(super) struct Arguments {}

pub(super) fn main(_: &Arguments, source: &Source) -> anyhow::Result<()> {
    let config = source.load()?;
    println!("{}: fine, {} rules", source.path().display(), config.events.len());
    Ok(())
}
