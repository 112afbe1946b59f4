//! `tailhook verify`: is this body signed with this secret?
use super::say;
use crate::domain::Secret;
use crate::egress::sign::{self, Verified};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Verifies a received body against both signature schemes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook verify --secret whsec_… --headers headers.txt --body body.json
  tailhook verify --secret whsec_… --headers headers.txt < body.json

The headers file has one `name: value` per line, as `curl -v` or a receiver's log shows them.
The body must be what was received, byte for byte.
At least one scheme's headers must be there, and each scheme that is there must hold.")]
pub(super) struct VerifyArguments {
    /// The subscription's secret
    #[arg(long)]
    secret: String,
    /// File with the received headers, `name: value` lines
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// File with the received body [default: standard input]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

/// More than any webhook has.
const LARGEST: u64 = 64 << 20;

pub(super) fn main(arguments: &VerifyArguments) -> anyhow::Result<()> {
    let headers = String::from_utf8_lossy(&read(&arguments.headers)?).into_owned();
    let headers = parse(&headers)?;
    let body = match &arguments.body {
        Some(file) => read(file)?,
        None => bounded(std::io::stdin().lock()).context("standard input cannot be read")?,
    };
    let verified = sign::verify(&headers, &body, &Secret::new(arguments.secret.as_str()), None)
        .context("not verified")?;
    report(verified)?;
    Ok(())
}

fn report(verified: Verified) -> std::io::Result<()> {
    for (there, scheme) in
        [(verified.x_signature, "X-Signature"), (verified.webhook_signature, "webhook-signature")]
    {
        say(&format!("{scheme}: {}", if there { "verified" } else { "not there" }))?;
    }
    if let Some(timestamp) = verified.timestamp {
        let advice = "a receiver should refuse what is older than five minutes";
        say(&format!("signed at {timestamp} (Unix seconds; {advice})"))?;
    }
    Ok(())
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start_matches(['<', '>']).trim();
        if line.is_empty() || line.starts_with("HTTP/") || line.starts_with("POST ") {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            bail!("line {} of the headers is no `name: value`; correct or delete it", at + 1);
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(headers)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    File::open(file)
        .and_then(bounded)
        .with_context(|| format!("{} cannot be read; name an existing file", file.display()))
}

fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_as_tools_show_them() {
        let text = "> POST /hook HTTP/1.1\n> X-Signature: sha256=ab\nwebhook-id:1:2 \r\n\nHTTP/1.1 200 OK\n";
        let headers = parse(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(headers, [pair("X-Signature", "sha256=ab"), pair("webhook-id", "1:2")]);
        assert!(parse("nonsense").is_err());
    }
}
