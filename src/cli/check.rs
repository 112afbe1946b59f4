//! `tailhook check`: would `run` work here?
use super::{ConfigSource, block_on, say};
use crate::app::preflight;
use crate::postgres::checks::{Finding, Severity};
use anyhow::bail;

/// Checks the file and the database; each finding says what mends it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook check
  tailhook check --config /etc/tailhook/tailhook.toml
  tailhook check --json | jq .")]
pub(super) struct CheckArguments {
    /// Prints one JSON object per finding
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &CheckArguments, source: &ConfigSource) -> anyhow::Result<()> {
    let config = source.load()?;
    let findings = block_on(async { Ok(preflight::look(&config).await) })?;
    for finding in &findings {
        say(&if arguments.json { as_json(finding) } else { as_text(finding) })?;
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{errors} of these must be mended before `tailhook run` can start");
    }
    if !arguments.json {
        say(&format!("{}: fine, {} rules", source.path().display(), config.events.len()))?;
    }
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn as_text(finding: &Finding) -> String {
    let remedy = finding.remedy_sql.as_ref().map(|sql| format!("\n         {sql}")).unwrap_or_default();
    format!("{:<8} {}{remedy}", word(finding.severity), finding.what)
}

fn as_json(finding: &Finding) -> String {
    serde_json::json!({
        "severity": word(finding.severity),
        "what": finding.what,
        "remedy": finding.remedy_sql,
    })
    .to_string()
}
