//! `tailhook run`: the sidecar until a signal.
use super::{ConfigSource, block_on, logs, signals::StopSignals};
use crate::app;
use crate::domain::Lsn;
use tokio::sync::watch;

/// Runs the sidecar until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook run
  tailhook run --config /etc/tailhook/tailhook.toml
  TAILHOOK_LOG=debug tailhook run
  tailhook run --accept-gap=0/1A2B3C8-0/1B00000")]
pub(super) struct RunArguments {
    /// Accepts the gap with exactly this range, as it was reported; changes committed in it give no events
    #[arg(long, value_name = "FROM-TO", value_parser = range)]
    accept_gap: Option<String>,
}

/// Whether it is the gap's own range is judged where the gap is.
fn range(text: &str) -> Result<String, String> {
    let (from, to) = text.split_once('-').ok_or("write it as it was reported, as 0/1A2B3C8-0/1B00000")?;
    from.trim().parse::<Lsn>()?;
    to.trim().parse::<Lsn>()?;
    Ok(text.to_owned())
}

pub(super) fn main(arguments: RunArguments, source: &ConfigSource) -> anyhow::Result<()> {
    let config = source.load()?;
    let options = app::RunOptions { accept_gap: arguments.accept_gap };
    logs::start(config.log.format, "info");
    block_on(async move {
        let mut signals = StopSignals::listen()?;
        let (stop, stopped) = watch::channel(false);
        let mut running = Box::pin(app::run(config, options, stopped));
        tokio::select! {
            biased;
            ended = &mut running => return ended,
            signal = signals.wait() => tracing::info!(signal, "stopping"),
        }
        // A receiver is alive as long as `running` is.
        let _ = stop.send(true);
        running.await
    })
}
