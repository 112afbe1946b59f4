//! The one place where the stages meet: wiring and shutdown order.
use crate::config::Config;
use tokio::sync::watch;

/// Runs the sidecar until `shutdown` turns true.
pub async fn run(_config: Config, _shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
