//! Reads `[admin]` and its tokens.
use super::problem::ProblemReport;
use super::section::Section;
use super::sections::text;
use crate::settings::{AdminSettings, AdminToken, Scope};

/// Reads the section.
pub(super) fn read(section: Section<'_>, report: &ProblemReport<'_>) -> AdminSettings {
    let defaults = AdminSettings::default();
    if section.has("tls") {
        section.not_yet("tls", "the admin API speaks plain HTTP; put it behind a proxy that speaks TLS");
    }
    if section.has("jwt") {
        section.not_yet("jwt", "the ERP's own bearer tokens are not read; use [[admin.token]]");
    }
    if section.flag("behind_proxy", false) {
        section.not_yet("behind_proxy", "X-Forwarded-* is not read");
    }
    let tokens = section.tables("token").into_iter().filter_map(|(line, entry)| {
        let Some(table) = entry.get_ref().as_table() else {
            report.add(line, "admin.token: is not a table; begin each token with [[admin.token]]");
            return None;
        };
        token(section.element("token", line, table))
    });
    let admin = AdminSettings {
        tokens: tokens.collect(),
        listen: section.parsed(
            "listen",
            defaults.listen,
            "write an address and a port, as \"127.0.0.1:9400\"",
        ),
        allowed_hosts: section
            .list("allowed_hosts", "write host names", text)
            .unwrap_or(defaults.allowed_hosts),
    };
    section.finish();
    admin
}

fn token(section: Section<'_>) -> Option<AdminToken> {
    let name = section.text("name", "unnamed");
    let sha256 = section.optional_text("sha256").and_then(|text| sha256(&text));
    if sha256.is_none() {
        section
            .problem("sha256", "is not 64 hexadecimal digits; take the lines that `tailhook token` prints");
    }
    let tenant = section.text("tenant", "*");
    let scope = section.choice("scope", Scope::Write, &[("read", Scope::Read), ("write", Scope::Write)]);
    for key in ["name", "tenant", "scope"].into_iter().filter(|key| !section.has(key)) {
        section.problem(key, "is missing; take the lines that `tailhook token` prints");
    }
    section.finish();
    Some(AdminToken { name, sha256: sha256?, tenant, scope })
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}
