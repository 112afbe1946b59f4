//! `tailhook verify`: is this body signed with this secret?
use std::path::PathBuf;

/// Verifies a received body against both signature schemes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook verify --secret whsec_… --headers headers.txt --body body.json
  tailhook verify --secret whsec_… --headers headers.txt < body.json

The headers file holds one `name: value` a line, as `curl -v` or a receiver's log shows them.")]
pub(super) struct Arguments {
    /// The subscription's secret
    #[arg(long)]
    secret: String,
    /// File with the received headers, `name: value` lines
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// File with the received body, byte for byte [default: standard input]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    let _ = (&arguments.secret, &arguments.headers, &arguments.body);
    anyhow::bail!("not yet")
}
