//! `tailhook demo`: everything at once on a throw-away database.
use super::{block_on, logs, signals::Stop};
use crate::config::{self, LogFormat};
use crate::demo;
use anyhow::bail;
use std::time::Duration;
use tokio::sync::watch;

/// Shows it all: a throw-away Postgres, a small ERP at work, the sidecar, and a receiver that verifies every signature
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook demo                until Ctrl-C
  tailhook demo --for 20s      ends by itself; exit 0 only if every event arrived once and verified")]
pub(super) struct Arguments {
    /// Ends by itself after this long, as 20s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).filter(|d| !d.is_zero()).ok_or_else(|| "write it as 20s or 5m".to_owned())
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<()> {
    logs::start(LogFormat::Text, "warn");
    let duration = arguments.duration;
    let verdict = block_on(async move {
        let mut signals = Stop::listen()?;
        let (stop, stops) = watch::channel(0);
        let mut shown = Box::pin(demo::run(duration, stops));
        loop {
            tokio::select! {
                biased;
                verdict = &mut shown => return verdict,
                _ = signals.wait() => stop.send_modify(|stops| *stops += 1),
            }
        }
    })?;
    if !verdict.is_fine() {
        bail!("{verdict}");
    }
    Ok(())
}
