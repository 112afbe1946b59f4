//! One name, one type: a reader who searches for a type's name finds one definition. Tests and what fuzzers call do not count.
use super::arrows::Source;
use std::collections::BTreeMap;

/// Names that two files define.
pub(super) fn twice(sources: &[Source]) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test() && !source.path.ends_with("hostile.rs")) {
        for line in source.code.lines() {
            found.entry(defined(line).unwrap_or_default()).or_default().push(&source.path);
        }
    }
    found.remove("");
    let twice = found.into_iter().filter(|(_, paths)| paths.len() > 1);
    twice.map(|(name, paths)| format!("{name} is defined in {}", paths.join(" and "))).collect()
}

/// The type that a line defines at its file's top level.
fn defined(line: &str) -> Option<&str> {
    let mut rest = line;
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(limited) => limited.split_once(')')?.1,
            None => public,
        };
        rest = rest.strip_prefix(' ')?;
    }
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| rest.strip_prefix(word))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty())
}

#[test]
fn planted_names_are_reported() {
    let sources = [
        Source::new("a/x.rs", "pub(in crate::a) struct Place<'a> {\n}\nstruct Own;\n    type Inner = u8;\n"),
        Source::new("b/y.rs", "enum Place {}\npub trait Seam {}\npub type Inner = u8;\n"),
        Source::new("b/y/tests.rs", "struct Own;\n"),
    ];
    assert_eq!(twice(&sources), ["Place is defined in a/x.rs and b/y.rs"]);
}
