//! Import arrows between the files of `src/`: permissions that nothing uses, and circles between files of different folders. A name
//! that a `mod.rs` re-exports counts as its own file's; tests do not count.
use super::{MAY_IMPORT, code, imports, stage};
use std::collections::{BTreeMap, BTreeSet};

/// Circles that stand, by the folders that they tie together; each is to go, and none may come.
const KNOWN_CIRCLES: &[&[&str]] = &[];

/// A file of `src/`: its path, and its code without comments and tests.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: code(text) }
    }
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }
    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
    /// `store/log/journal.rs` → store, log, journal; `store/log/mod.rs` → store, log.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').map(str::to_owned).collect()
    }
}

/// What stages may import and do not.
pub(super) fn unused(sources: &[Source]) -> Vec<String> {
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        used.extend(imports(&source.code).into_iter().map(|name| (stage(&source.path).to_owned(), name)));
    }
    let allowed = MAY_IMPORT.iter().flat_map(|(stage, may)| may.iter().map(|of| (*stage, *of)));
    allowed
        .filter(|(stage, of)| !used.contains(&((*stage).to_owned(), (*of).to_owned())))
        .map(|(stage, of)| format!("{stage} may import {of} and does not: take the permission away"))
        .collect()
}

/// Every path that the code names, from the crate's root, in segments.
fn paths(source: &Source) -> Vec<Vec<String>> {
    let module = source.module();
    let mut found = Vec::new();
    for (at, start) in source.code.match_indices("crate::").chain(source.code.match_indices("super::")) {
        let before = source.code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let (mut base, mut rest) = match start {
            "crate::" => (Vec::new(), &source.code[at + 7..]),
            _ => (module[..module.len() - 1].to_vec(), &source.code[at + 7..]),
        };
        while let Some(further) = rest.strip_prefix("super::") {
            base.pop();
            rest = further;
        }
        expand(&base, rest, &mut found);
    }
    found
}

/// Follows one path, and every branch of its braces.
fn expand(base: &[String], text: &str, found: &mut Vec<Vec<String>>) {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        let (mut depth, mut from) = (0, 0);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    expand(base, &list[from..i], found);
                    return;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(base, &list[from..i], found);
                    from = i + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut path = base.to_vec();
    if !word.is_empty() && word != "self" {
        path.push(word.clone());
    }
    match text[word.len()..].strip_prefix("::") {
        Some(rest) if !word.is_empty() => expand(&path, rest, found),
        _ => found.push(path),
    }
}

/// `pub use path::{names}` of a `mod.rs`: each name and where it leads.
fn reexports(source: &Source) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, start) in source.code.match_indices("pub use ") {
        let rest = &source.code[at + start.len()..];
        let Some(end) = rest.find(';') else { continue };
        let (base, rest) = match rest[..end].trim_start().strip_prefix("crate::") {
            Some(rest) => (Vec::new(), rest),
            None => (source.module(), &rest[..end]),
        };
        let mut paths = Vec::new();
        expand(&base, rest, &mut paths);
        found.extend(paths.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
    }
    found
}

/// Which file imports which, by their places in `sources`.
fn arrows(sources: &[Source]) -> Vec<BTreeSet<usize>> {
    let modules: BTreeMap<Vec<String>, usize> =
        sources.iter().enumerate().map(|(at, source)| (source.module(), at)).collect();
    let mut facade: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        facade.extend(reexports(source).into_iter().map(|(name, path)| ((at, name), path)));
    }
    let target = |path: &[String]| -> Option<usize> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let (known, at) = (1..=path.len()).rev().find_map(|n| Some((n, *modules.get(&path[..n])?)))?;
            match path.get(known).and_then(|name| facade.get(&(at, name.clone()))) {
                Some(leads) => path = leads.clone(),
                None => return Some(at),
            }
        }
        None
    };
    let arrow = |(at, source): (usize, &Source)| {
        let to = paths(source).into_iter().filter_map(|path| target(&path)).filter(|to| *to != at);
        if source.is_test() { BTreeSet::new() } else { to.filter(|to| !sources[*to].is_test()).collect() }
    };
    sources.iter().enumerate().map(arrow).collect()
}

/// Everything that can be reached from a file.
fn reach(from: usize, arrows: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        open.extend(arrows[at].iter().filter(|to| seen.insert(**to)));
    }
    seen
}

/// Circles of files in more than one folder: the folders, and the files.
fn circles(sources: &[Source]) -> Vec<(Vec<String>, Vec<String>)> {
    let arrows = arrows(sources);
    let reached: Vec<BTreeSet<usize>> = (0..sources.len()).map(|at| reach(at, &arrows)).collect();
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for at in 0..sources.len() {
        if !reached[at].contains(&at) || told.contains(&at) {
            continue;
        }
        let circle: Vec<usize> =
            reached[at].iter().copied().filter(|to| reached[*to].contains(&at)).collect();
        told.extend(circle.iter().copied());
        let folders: BTreeSet<String> = circle.iter().map(|at| sources[*at].folder().to_owned()).collect();
        if folders.len() > 1 {
            let files = circle.iter().map(|at| sources[*at].path.clone()).collect();
            found.push((folders.into_iter().collect(), files));
        }
    }
    found
}

/// Circles that are not known, and known ones that are gone.
pub(super) fn new_circles(sources: &[Source]) -> Vec<String> {
    let found = circles(sources);
    let known = |folders: &[String]| KNOWN_CIRCLES.iter().any(|known| folders.iter().eq(known.iter()));
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|(folders, _)| !known(folders))
        .map(|(folders, files)| format!("a circle of imports through {folders:?}: {files:?}"))
        .collect();
    let stands = |known: &[&str]| found.iter().any(|(folders, _)| folders.iter().eq(known.iter()));
    wrong.extend(
        KNOWN_CIRCLES
            .iter()
            .filter(|known| !stands(known))
            .map(|known| format!("gone: {known:?}; strike it")),
    );
    wrong
}

#[test]
fn planted_arrows_are_reported() {
    let sources = |files: &[(&str, &str)]| -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    };
    let circle = sources(&[
        ("a/one/x.rs", "use crate::a::{b, Name};\n"),
        ("a/mod.rs", "pub use two::y::Name;\n"),
        ("a/two/y.rs", "use super::super::one::x::{self, X};\n"),
        ("a/b.rs", "fn f() {}\n"),
    ]);
    let found = circles(&circle);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, ["a/one/x.rs", "a/two/y.rs"]);
    let line = sources(&[("a/one/x.rs", "use crate::a::two::y::Y;"), ("a/two/y.rs", "use crate::b::Z;")]);
    assert!(circles(&line).is_empty());
    let within = sources(&[("a/x.rs", "use super::y::Y;"), ("a/y.rs", "use super::x::X;")]);
    assert!(circles(&within).is_empty(), "files of one folder");
    let idle = unused(&sources(&[("registry/rows.rs", "use crate::domain::Lsn;")]));
    assert!(idle.contains(&"registry may import store and does not: take the permission away".to_owned()));
    assert!(!idle.iter().any(|line| line.starts_with("registry may import domain")));
}
