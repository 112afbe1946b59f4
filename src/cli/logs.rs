//! Where log lines go and how they look. `TAILHOOK_LOG` filters them, as `info` or `tailhook::capture=debug`.
use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error.
pub(super) fn start(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env("TAILHOOK_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // where a line cannot be written (a full disk), the complaint about it cannot either, and would panic
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process would be a mistake of ours and not worth failing for.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
