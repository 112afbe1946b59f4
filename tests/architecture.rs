//! Which stage may import which, which file may name which vendor, and how long a file may be; `references` asks whether
//! references lead somewhere. The tables are the architecture; this test is their guard. Comments and strings do not count.
#![allow(clippy::unwrap_used, reason = "a test")]
#[path = "architecture/arrows.rs"]
mod arrows;
#[path = "architecture/names.rs"]
mod names;
#[path = "architecture/references.rs"]
mod references;

use std::path::{Path, PathBuf};

/// A stage and what of ours it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("fault", &[]),
    ("stop", &[]),
    ("telemetry", &[]),
    ("settings", &["domain"]),
    ("mapping", &["domain", "fault"]),
    ("disk", &["fault"]),
    ("store", &["domain", "disk", "settings", "clock", "fault"]),
    ("registry", &["domain", "store", "fault"]),
    (
        "capture",
        &[
            "domain",
            "settings",
            "mapping",
            "store",
            "registry",
            "postgres",
            "clock",
            "fault",
            "stop",
            "telemetry",
        ],
    ),
    ("egress", &["domain", "settings", "clock", "fault"]),
    ("dispatch", &["domain", "settings", "store", "registry", "egress", "clock", "fault", "telemetry"]),
    ("postgres", &["domain", "fault"]),
    ("config", &["domain", "settings", "mapping"]),
    ("admin", &["domain", "settings", "store", "registry", "postgres", "clock", "fault", "telemetry"]),
];

/// Where everything meets: these may import anything.
const ROOT: &[&str] = &["app", "cli", "hostile", "lib", "main"];

/// Vendor crates that live in one place each: the name in Rust, and the path prefixes under `src/`.
const VENDORS: &[(&str, &[&str])] = &[
    ("lsm_tree", &["store/index/lsm.rs"]),
    ("sled", &["store/index/sled.rs", "store/index/sled/"]),
    ("pingora_core", &["egress/proxy.rs", "egress/proxy/"]),
    ("pingora_http", &["egress/proxy.rs", "egress/proxy/"]),
    ("postgres_protocol", &["capture/wire/connection.rs", "capture/wire/connection/"]),
    ("tokio_postgres", &["postgres/"]),
    ("axum", &["admin/"]),
    ("hyper", &["admin/"]),
    ("tokio_rustls", &["egress/proxy/tests.rs"]),
    ("tailhook_demo", &["cli/demo.rs"]),
    ("governor", &["dispatch/rounds/limit.rs"]),
    ("hmac", &["egress/"]),
    ("subtle", &["egress/", "admin/"]),
    ("chacha20poly1305", &["registry/seal.rs"]),
    ("minijinja", &["mapping/"]),
    ("rustix", &["cli/signals.rs", "disk/folder.rs", "egress/trust.rs", "egress/proxy.rs"]),
    ("prometheus", &["telemetry.rs"]),
];

const LINES_MAX: usize = 400;

/// The code without comments, string contents and the tests at its end, which may use anything.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut out = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut before = ' ';
        for (i, c) in line.char_indices() {
            if !quoted && line[i..].starts_with("//") {
                break;
            }
            if c == '"' && before != '\\' && before != '\'' {
                quoted = !quoted;
            } else if !quoted {
                out.push(c);
            }
            before = c;
        }
        out.push('\n');
    }
    out
}

/// `capture/follow/slot.rs` → `capture`, `app.rs` → `app`.
fn stage(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The first names after every `crate::`, braces opened.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut from = 0;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    names.push(word(&list[from..i]));
                    from = i + 1;
                }
                _ => {}
            }
            if depth == 0 {
                names.push(word(&list[from..i]));
                break;
            }
        }
    }
    names
}

/// Does the code use a crate, as a path's first segment?
fn names_crate(code: &str, vendor: &str) -> bool {
    code.match_indices(vendor).any(|(at, _)| {
        let before = code[..at].trim_end_matches([' ', '\n']);
        let glued = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let after = &code[at + vendor.len()..];
        let inner = before.ends_with("mod") || glued;
        !inner && (after.starts_with("::") || (before.ends_with("use") && after.starts_with([';', ' '])))
    })
}

/// What is wrong with one file, `path` relative to `src/`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let me = stage(path);
    let may = MAY_IMPORT.iter().find(|(name, _)| *name == me).map(|(_, may)| *may);
    if may.is_none() && !ROOT.contains(&me) {
        wrong.push(format!("{path}: '{me}' is not in the table"));
    }
    let code = code(text);
    let stages = MAY_IMPORT.iter().map(|(name, _)| *name).chain(ROOT.iter().copied());
    let imported = imports(&code);
    for stage in stages.filter(|stage| *stage != me) {
        let a_test = path.ends_with("tests.rs") || path.contains("/tests/");
        let allowed = a_test || may.is_none_or(|may| may.contains(&stage));
        if !allowed && imported.iter().any(|name| name == stage) {
            wrong.push(format!("{path}: {me} may not import {stage}"));
        }
    }
    for (vendor, places) in VENDORS {
        if names_crate(&code, vendor) && !places.iter().any(|place| path.starts_with(place)) {
            wrong.push(format!("{path}: only {} may name {vendor}", places.join(", ")));
        }
    }
    if text.lines().count() > LINES_MAX {
        wrong.push(format!("{path}: {} lines, at most {LINES_MAX}", text.lines().count()));
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{path}: does not begin by saying what it is for"));
    }
    wrong
}

/// Files with one of the extensions, sorted. Build output and hidden folders are skipped.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_house_is_as_drawn() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found = files(&src, &["rs"]);
    assert!(found.len() > 20, "the source is where it is looked for");
    let mut wrong = Vec::new();
    let mut sources = Vec::new();
    for path in found {
        let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        wrong.extend(faults(&name, &text));
        sources.push(arrows::Source::new(&name, &text));
    }
    wrong.extend(arrows::unused(&sources));
    wrong.extend(arrows::new_circles(&sources));
    wrong.extend(names::twice(&sources));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_other_file_says_what_it_is_for_and_is_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in ["tests", "demo"].iter().flat_map(|folder| files(&root.join(folder), &["rs"])) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}", path.display());
        assert!(text.lines().count() <= LINES_MAX, "{}: too long", path.display());
    }
}

/// It judges the sidecar, so it must not judge it by the sidecar's own code.
#[test]
fn the_demonstration_depends_on_nothing_of_ours() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/Cargo.toml");
    let own: Vec<String> = path_dependencies(&std::fs::read_to_string(manifest).unwrap());
    assert_eq!(own, Vec::<String>::new());
    let planted =
        "[dependencies]\nanyhow = \"1\" # a/path\n[dev-dependencies]\ntailhook = { path = \"..\" }\n";
    assert_eq!(path_dependencies(planted), ["tailhook"]);
}

/// Names of dependencies that are folders, in any table of a manifest.
fn path_dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = manifest.iter().filter(|(name, _)| name.ends_with("dependencies"));
    let all = tables.flat_map(|(_, table)| table.as_table().unwrap());
    all.filter(|(_, how)| how.get("path").is_some()).map(|(name, _)| name.clone()).collect()
}

#[test]
fn planted_violations_are_reported() {
    let long = format!("//! x\n{}", "\n".repeat(LINES_MAX));
    for (path, text, expected) in [
        ("domain/event.rs", "//! x\nuse crate::store::Store;", "domain may not import store"),
        (
            "store/log/journal.rs",
            "//! x\nuse crate::{domain::{Lsn, Event}, capture::Source};",
            "may not import capture",
        ),
        ("mapping/rules/mod.rs", "//! x\nfn f() { crate::clock::now() }", "mapping may not import clock"),
        ("dispatch/order.rs", "//! x\nuse crate::{\n    app,\n};", "dispatch may not import app"),
        ("egress/sign.rs", "//! x\nuse lsm_tree::Tree;", "only store/index/lsm.rs may name lsm_tree"),
        ("capture/follow/slot.rs", "//! x\nlet c = tokio_postgres::connect();", "may name tokio_postgres"),
        ("dispatch/run.rs", "//! x\nuse pingora_core::connectors::http::Connector;", "may name pingora_core"),
        ("admin/router.rs", "//! x\nuse crate::egress::Transport;", "admin may not import egress"),
        ("extra/file.rs", "//! x", "'extra' is not in the table"),
        ("store/index/keys.rs", "fn f() {}", "does not begin"),
        ("store/index/keys.rs", long.as_str(), "at most 400"),
    ] {
        let found = faults(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}: {found:?} instead of '{expected}'");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, text) in [
        (
            "capture/follow/run.rs",
            "//! x\nuse crate::{domain::Lsn, mapping::Mapping, store::{Batch, Store}};",
        ),
        ("store/mod.rs", "//! x\npub mod lsm;\nuse self::lsm::Lsm;\n// use crate::capture::Source;"),
        ("store/index/lsm.rs", "//! x\nuse lsm_tree::Tree;"),
        (
            "domain/a.rs",
            "//! x\nconst X: &str = \"crate::store\";\n#[cfg(test)]\nmod tests {\n use crate::store;\n}",
        ),
        ("app.rs", "//! x\nuse crate::{admin, capture, dispatch, egress, store};"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}");
    }
}
