//! Purpose: reads `[database]`. Must not: read a URL by a grammar of its own, or repeat one: they hold passwords.
use super::section::Section;
use super::settings::{Config, Database};
use crate::domain::Secret;
use crate::postgres::url::{self, DatabaseUrl, UrlProblem};

/// Reads the section. `whole`: the file parsed without errors, so what is missing is truly missing.
pub(super) fn read(section: Section<'_>, whole: bool) -> Database {
    let url = section.optional_text("url");
    if url.is_none() && whole && !section.has("url") {
        section.problem(
            "url",
            "is missing; write url = \"postgres://ROLE:${PGPASSWORD}@HOST:5432/DATABASE\" under [database]",
        );
    }
    for (key, url) in [("url", url.as_deref()), ("api_url", section.optional_text("api_url").as_deref())] {
        if let Some(problem) = url.and_then(database_url_problem) {
            section.problem(key, problem);
        }
    }
    let defaults = Config::defaults(Secret::new(url.unwrap_or_default())).database;
    if section.flag("slot_failover", false) {
        section.not_yet("slot_failover", "failover slots are not made");
    }
    if section.flag("adopt_deliveries", false) {
        section.not_yet("adopt_deliveries", "rows that the ERP inserts are not delivered");
    }
    if section.has("max_wal") {
        section.not_yet("max_wal", "the slot is never given up");
    }
    let name = |key, default: &str, form: fn(&str) -> bool, rule: &str| {
        let name = section.text(key, default);
        if !form(&name) {
            section.problem(key, format_args!("{name:?} is no such name; {rule}"));
        }
        name
    };
    let identifier: fn(&str) -> bool = |name| name.len() <= 63 && !name.contains('\0');
    // a second one's name ends in _insert, and Postgres cuts names at 63 bytes
    let publication: fn(&str) -> bool = |name| name.len() <= 56 && !name.contains('\0');
    let slot_name: fn(&str) -> bool = |name| {
        name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let database = Database {
        slot: name("slot", &defaults.slot, slot_name, "use up to 63 of a-z, 0-9 and _"),
        publication: name("publication", &defaults.publication, publication, "use up to 56 bytes"),
        schema: name("schema", &defaults.schema, identifier, "use up to 63 bytes"),
        heartbeat: section.duration("heartbeat", defaults.heartbeat),
        api_url: section.optional_text("api_url").map(Secret::new),
        url: defaults.url,
    };
    if database.schema == "public" {
        section.not_yet("schema", "the old module's tables are not adopted");
    }
    section.finish();
    database
}

/// What is wrong with a database URL. Never repeats it: it holds a password.
fn database_url_problem(text: &str) -> Option<String> {
    const FORM: &str =
        "write postgres://ROLE:PASSWORD@HOST:PORT/DATABASE, or postgres://ROLE@/DATABASE?host=/socket/folder";
    if text.is_empty() {
        return Some(format!("is empty; {FORM}"));
    }
    if !url::has_scheme(text) {
        return Some(format!("is not a Postgres URL; {FORM}"));
    }
    // what replication needs beyond that, and a role, is asked for by `run`
    let problem = DatabaseUrl::parse(text).err();
    problem.map(|problem| match problem {
        UrlProblem::NotYet(what) => format!("not yet: {what}"),
        UrlProblem::Wrong(what) => what,
    })
}
