//! Do references lead somewhere? Sections of SPEC and DESIGN, relative links in Markdown, and the places that the glossary
//! names. Must not: judge what is said there.
use super::files;
use std::collections::HashSet;
use std::path::Path;

/// The sections of a document: `5` for a heading `## 5. …`, `5.2` for an item `2. …` below it.
fn sections(document: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut section = String::new();
    for line in document.lines() {
        let heading = line.strip_prefix("## ");
        let Some((number, _)) = heading.unwrap_or(line).split_once(". ") else { continue };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        if heading.is_some() {
            number.clone_into(&mut section);
            found.insert(number.to_owned());
        } else {
            found.insert(format!("{section}.{number}"));
        }
    }
    found
}

/// The numbers after every `word`: `5.2` and `5.3` of `SPEC 5.2, 5.3`.
fn references(text: &str, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&format!("{word} ")) {
        if text[..at].ends_with(char::is_alphanumeric) {
            continue;
        }
        let mut rest = &text[at + word.len() + 1..];
        loop {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number = rest[..end].trim_end_matches('.');
            if number.is_empty() {
                break;
            }
            found.push(number.to_owned());
            let Some(more) = [", ", "–", " and "].iter().find_map(|by| rest[end..].strip_prefix(by)) else {
                break;
            };
            rest = more;
        }
    }
    found
}

/// References of one file to sections that do not exist.
fn dangling(path: &str, text: &str, spec: &HashSet<String>, design: &HashSet<String>) -> Vec<String> {
    let mut kinds = vec![("SPEC", spec), ("DESIGN", design)];
    if path == "docs/SPEC.md" {
        kinds.push(("see", spec));
    }
    let missing = kinds.into_iter().flat_map(|(word, known)| {
        let numbers = references(text, word).into_iter().filter(|number| !known.contains(number));
        numbers.map(move |number| format!("{path}: there is no section {number} for '{word} {number}'"))
    });
    missing.collect()
}

/// A heading as links name it: `## 9. Not there` is `#9-not-there`.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Relative links of one Markdown file that lead nowhere; `read` gives the text of a path beside it.
fn dead_links(path: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut dead = Vec::new();
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    for line in prose {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let found = if file.is_empty() { Some(text.to_owned()) } else { read(file) };
            let has = |text: String| text.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
            if !found.is_some_and(|text| anchor.is_empty() || has(text)) {
                dead.push(format!("{path}: the link to {target} leads nowhere"));
            }
        }
    }
    dead
}

fn is_kind(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// Places of the glossary that are not there: a file in `src/`, or a name after its `:` that the file does not have.
fn lost_places(glossary: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut lost = Vec::new();
    let rows = glossary.lines().filter(|line| line.starts_with("| **"));
    for place in rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()) {
        for (at, part) in place.split('`').enumerate().filter(|(at, part)| at % 2 == 1 && is_kind(part, "rs"))
        {
            let Some(text) = read(part) else {
                lost.push(format!("there is no src/{part}"));
                continue;
            };
            let after = place.split('`').nth(at + 1).unwrap_or_default();
            let names = place.split('`').skip(at + 2).step_by(2).take_while(|name| !is_kind(name, "rs"));
            let names = names.filter(|_| after.starts_with(':')).flat_map(|name| name.split("::"));
            lost.extend(
                names.filter(|name| !text.contains(*name)).map(|name| format!("src/{part} has no {name}")),
            );
        }
    }
    lost
}

#[test]
fn every_reference_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let spec = sections(&read(&root.join("docs/SPEC.md")));
    let design = sections(&read(&root.join("docs/DESIGN.md")));
    assert!(spec.len() > 15 && design.len() > 10, "the documents are where they are looked for");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in files(root, &["rs", "md", "sql", "toml"]) {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        let text = read(&path);
        seen += references(&text, "SPEC").len() + references(&text, "DESIGN").len();
        wrong.extend(dangling(&name, &text, &spec, &design));
        if is_kind(&name, "md") {
            let beside = |file: &str| std::fs::read(path.with_file_name(file)).ok();
            let beside = |file: &str| beside(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            wrong.extend(dead_links(&name, &text, &beside));
        }
    }
    assert!(seen > 50, "only {seen} references were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn planted_dangling_references_are_reported() {
    let document = "## 4. Wire\n1. no item of ours\n## 5. Deliveries\n1. **Status**\n2. **Retry**\n";
    let (spec, design) = (sections(document), sections("## 1. Idea\n"));
    // the escape keeps these out of this file's own references
    for (path, text, expected) in [
        ("a.rs", "//! x (SPEC\u{20}6)", "SPEC 6"),
        ("a.rs", "//! x (SPEC\u{20}5.2, 5.3, and more)", "SPEC 5.3"),
        ("a.rs", "//! x (SPEC\u{20}5.1–5.9)", "SPEC 5.9"),
        ("a.rs", "//! x (SPEC\u{20}4, DESIGN\u{20}2.)", "DESIGN 2"),
        ("docs/SPEC.md", "as it was, see 7", "see 7"),
    ] {
        let found = dangling(path, text, &spec, &design);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    for text in
        ["SPEC\u{20}5.1–5.2, DESIGN\u{20}1", "SPECIFICATION 9, SPEC and all", "SPEC\u{20}4. 17 of them"]
    {
        assert_eq!(dangling("a.rs", text, &spec, &design), Vec::<String>::new(), "{text}");
    }
    let read = |file: &str| (file == "b.md").then(|| "# B\n## 9. Not there\n".to_owned());
    let text = "[b](b.md) [9](b.md#9-not-there) [out](https://c.example/x)\n```\n[x](gone)\n```\n[c](c.md) [8](b.md#8) [d](#d)";
    let dead = dead_links("a.md", text, &read);
    assert_eq!(dead.len(), 3, "{dead:?}");
    assert!(dead[0].contains("c.md") && dead[1].contains("b.md#8") && dead[2].contains("#d"), "{dead:?}");
}

#[test]
fn the_glossary_names_places_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let glossary = std::fs::read_to_string(root.join("docs/GLOSSARY.md")).unwrap();
    let read = |file: &str| std::fs::read_to_string(root.join("src").join(file)).ok();
    assert!(glossary.matches(".rs`").count() > 60, "the glossary is where it is looked for");
    assert_eq!(lost_places(&glossary, &read), Vec::<String>::new());

    let planted = "| **a** | x | y | `a.rs`: `A`, `b` |\n| **b** | x | y | `a.rs`; `Other::c` |\n| **c** | x | y | `c.rs` |";
    let lost = lost_places(planted, &|file| (file == "a.rs").then(|| "struct A;".to_owned()));
    assert_eq!(lost, ["src/a.rs has no b", "there is no src/c.rs"]);
}
