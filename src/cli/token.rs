//! `tailhook token`: makes an admin token. The file gets only its hash.
use super::{say, warn};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Makes an admin token; prints it once, with the lines for the configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tailhook token --name erp-backend
  tailhook token --name dashboard --tenant 7c9e6679-7425-40de-944b-e07fc1f90ae7 --scope read")]
pub(super) struct TokenArguments {
    /// Who will hold it
    #[arg(long, default_value = "admin")]
    name: String,
    /// One tenant's id, or "*" for all: each request then names its tenant by X-Tenant-Id
    #[arg(long, default_value = "*")]
    tenant: String,
    /// What it may do
    #[arg(long, value_enum, default_value_t = TokenScope::Write)]
    scope: TokenScope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenScope {
    Read,
    Write,
}

pub(super) fn main(arguments: &TokenArguments) -> anyhow::Result<()> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    let token = token(random);
    warn("The token is the first line and is shown only now; the other lines go into the file.");
    say(&format!("{token}\n\n{}", lines(arguments, &token)))?;
    Ok(())
}

/// 32 random bytes as a token.
fn token(random: [u8; 32]) -> String {
    format!("th_{}", URL_SAFE_NO_PAD.encode(random))
}

/// What the file holds of a token: its SHA-256 in hexadecimal digits.
fn hash(token: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(token) {
        // Writing into a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn lines(arguments: &TokenArguments, token: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let hash = hash(token);
    let scope = match arguments.scope {
        TokenScope::Read => "read",
        TokenScope::Write => "write",
    };
    let (name, tenant) = (quoted(&arguments.name), quoted(&arguments.tenant));
    format!("[[admin.token]]\nname = {name}\nsha256 = \"{hash}\"\ntenant = {tenant}\nscope = \"{scope}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::settings;
    use std::path::Path;

    #[test]
    fn the_lines_are_read_back() {
        let arguments =
            TokenArguments { name: "a \"b\"\n".to_owned(), tenant: "*".to_owned(), scope: TokenScope::Read };
        let token = token([7; 32]);
        assert_eq!(token, "th_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        let file = format!("[database]\nurl = \"postgres://u@h/d\"\n{}\n", lines(&arguments, &token));
        let config = config::parse("t", Path::new(""), &file, &|_| None).unwrap();
        let read = &config.admin.tokens[0];
        assert_eq!(
            (read.name.as_str(), read.tenant.as_str(), read.scope),
            ("a \"b\"\n", "*", settings::Scope::Read)
        );
        assert_eq!(read.sha256.as_slice(), Sha256::digest(&token).as_slice());
    }
}
