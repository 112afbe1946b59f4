//! SIGTERM, SIGINT, SIGHUP and SIGXFSZ. Knows nothing of what is stopped.
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the process, caught from the moment this is made.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A file has reached its limit: caught, the write fails, which the store survives; not caught, it kills.
    _too_large: Signal,
}

impl StopSignals {
    /// Begins to catch them.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
            _too_large: catch(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }
    /// The name of the first one that comes. SIGHUP would reload; until that is there it must not kill.
    pub(super) async fn wait(&mut self) -> &'static str {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP does nothing yet: restart to apply a changed file");
                }
            }
        }
    }
}
