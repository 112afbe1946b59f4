//! `tailhook demo`: everything at once on a throw-away database. The sidecar in it is this program once more.
use super::{block_on, logs, signals::StopSignals};
use crate::config::{self, LogFormat};
use anyhow::{Context, bail};
use std::time::Duration;
use tokio::sync::watch;

/// Runs a demonstration: a throw-away Postgres with a small ERP, the sidecar, and a receiver that verifies signatures
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook demo                runs until Ctrl-C
  tailhook demo --for 20s      stops by itself; exits with 0 only if every event arrived once and verified")]
pub(super) struct DemoArguments {
    /// Stops by itself after this long, for example 20s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).filter(|d| !d.is_zero()).ok_or_else(|| "write it as 20s or 5m".to_owned())
}

pub(super) fn main(arguments: &DemoArguments) -> anyhow::Result<()> {
    logs::start(LogFormat::Text, "warn");
    let duration = arguments.duration;
    let program = std::env::current_exe().context("the program does not find its own file")?;
    let verdict = block_on(async move {
        let mut signals = StopSignals::listen()?;
        let (stop, stops) = watch::channel(0);
        let mut shown = Box::pin(tailhook_demo::run(&program, duration, stops));
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
