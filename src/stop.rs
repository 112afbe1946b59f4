//! The request to stop, as every loop hears it. Knows no signal and no order.
use tokio::sync::watch;

/// Resolves when a stop was requested, or when whoever could request it is gone.
pub async fn requested(stop: &mut watch::Receiver<bool>) {
    // the value is let go of at once: it must not be held across another wait
    drop(stop.wait_for(|stop| *stop).await);
}
