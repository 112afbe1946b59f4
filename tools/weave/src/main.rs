//! Purpose: weaves all the changes that cargo-mutants would make one at a time into one source, each behind the question whether it
//! is the one that is asked for, so that one build tries them all.
//!   weave LIST TREE APART     LIST: `cargo mutants --list --json`; TREE: the source, rewritten in place; APART: numbers, one a line, that
//!                             stay out. Writes TREE/woven.json: which change stands where. Prints what cannot be woven.
//!   judge TREE                standard input: cargo's messages of that source; prints the changes by which it does not compile, and
//!                             whether the error lies in (or is explained by) the changed text itself: `own`, or `near`
//!   numbers LIST PLACE        prints number and name of each change in this file or folder
//!   run LIST TREE NUMBERS BINARY SECONDS HASTE FILTER ...    asks the tests of BINARY with these names about the changes of these
//!                             numbers; SECONDS: of processor time; HASTE: `hasty` or `patient` (tests that start servers)
//! Must not: know Tailhook.
mod judge;
mod run;
mod weave;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// One change, as cargo-mutants lists it; its number is its place in the list, from 1.
#[derive(Debug, Clone, Deserialize)]
struct Change {
    file: String,
    name: String,
    genre: String,
    replacement: String,
    span: Place,
    function: Option<Function>,
    #[serde(skip)]
    number: usize,
}

#[derive(Debug, Clone, Deserialize)]
struct Function {
    return_type: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Place {
    start: Point,
}

#[derive(Debug, Clone, Deserialize)]
struct Point {
    line: usize,
    column: usize,
}

/// Where changes stand in a woven file: the innermost one that an error lies in is to blame.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stretch {
    range: Range<usize>,
    numbers: Vec<usize>,
    /// The changed text itself, and not what is around it.
    exact: bool,
}

type Woven = BTreeMap<String, Vec<Stretch>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["weave", list, tree, apart] => all(Path::new(list), Path::new(tree), Path::new(apart)),
        ["judge", tree] => judge::judge(Path::new(tree)),
        ["numbers", list, place] => {
            let within = |file: &str| {
                file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            for change in changes(Path::new(list)).iter().filter(|change| within(&change.file)) {
                println!("{} {}", change.number, change.name);
            }
        }
        ["run", list, tree, numbers, binary, seconds, haste, filters @ ..] => {
            let wanted = lines(Path::new(numbers));
            let changes = changes(Path::new(list));
            let changes: Vec<&Change> = changes.iter().filter(|c| wanted.contains(&c.number)).collect();
            let seconds = seconds.parse().expect("seconds");
            let hasty = *haste == "hasty";
            let runner = run::Runner { binary: binary.into(), seconds, tree: Path::new(tree), hasty };
            runner.all(&changes, filters);
        }
        _ => panic!("weave, judge or run: see the source"),
    }
}

fn changes(list: &Path) -> Vec<Change> {
    let mut changes: Vec<Change> = serde_json::from_str(&read(list)).expect("the list");
    changes.iter_mut().enumerate().for_each(|(place, change)| change.number = place + 1);
    changes
}

fn lines(numbers: &Path) -> Vec<usize> {
    read(numbers).lines().map(|line| line.parse().expect("a number")).collect()
}

/// What is asked at run time.
const IS: &str = include_str!("woven.rs");

fn all(list: &Path, tree: &Path, apart: &Path) {
    let apart = lines(apart);
    let mut files: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for change in changes(list) {
        if !apart.contains(&change.number) {
            files.entry(change.file.clone()).or_default().push(change);
        }
    }
    let mut woven = Woven::new();
    for (file, changes) in files {
        let path = tree.join(&file);
        let (text, stretches) = weave::file(&read(&path), &changes);
        for change in &changes {
            if !stretches.iter().any(|stretch| stretch.numbers.contains(&change.number)) {
                println!("{}", change.number);
            }
        }
        std::fs::write(&path, text).expect("the source");
        woven.insert(file, stretches);
    }
    let text = serde_json::to_string(&woven).expect("the map");
    std::fs::write(tree.join("woven.json"), text).expect("the map");
    std::fs::write(tree.join("src/woven.rs"), IS).expect("the source");
    let root = tree.join("src/lib.rs");
    std::fs::write(&root, format!("#![allow(warnings)]\n{}pub mod woven;\n", read(&root)))
        .expect("the source");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
