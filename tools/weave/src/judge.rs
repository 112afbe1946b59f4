//! Which changes keep a woven source from compiling.
use crate::{Stretch, Woven, read};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads cargo's messages (`--message-format json`) and prints numbers. What nobody is to blame for goes to standard error.
pub(crate) fn judge(tree: &Path) {
    let woven: Woven = serde_json::from_str(&read(&tree.join("woven.json"))).expect("the map");
    let mut blamed = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.expect("messages")) else { continue };
        let said = &message["message"];
        if said["level"] != "error" || said["code"].is_null() && spans(said).is_empty() {
            continue;
        }
        let found = blame(&woven, &spans(said));
        if found.is_empty() {
            eprintln!("nobody is to blame: {}", said["rendered"].as_str().unwrap_or_default());
        }
        for (number, own) in found {
            *blamed.entry(number).or_insert(own) |= own;
        }
    }
    for (number, own) in blamed {
        println!("{number} {}", if own { "own" } else { "near" });
    }
}

/// File, first and last byte, and whether it is where the error lies (and not what explains it).
type Span = (String, usize, usize, bool);

fn spans(said: &Value) -> Vec<Span> {
    let own = said["spans"].as_array().into_iter().flatten().map(|span| {
        let byte = |name: &str| span[name].as_u64().unwrap_or_default() as usize;
        let file = span["file_name"].as_str().unwrap_or_default().to_owned();
        (file, byte("byte_start"), byte("byte_end"), span["is_primary"] == true)
    });
    let explained = said["children"].as_array().into_iter().flatten().flat_map(spans);
    own.chain(explained.map(|(file, from, to, _)| (file, from, to, false))).collect()
}

/// Changed text that an error lies in or is explained by, else the narrowest that is around it.
fn blame(woven: &Woven, spans: &[Span]) -> Vec<(usize, bool)> {
    let around = |span: &&Span, exact: bool| -> Option<Stretch> {
        let stretches = woven.get(&span.0)?.iter();
        let holds = |stretch: &&Stretch| {
            stretch.exact == exact && stretch.range.start <= span.1 && span.2 <= stretch.range.end
        };
        stretches.filter(holds).min_by_key(|stretch| stretch.range.len()).cloned()
    };
    for (exact, primary) in [(true, true), (true, false), (false, true), (false, false)] {
        let wanted = spans.iter().filter(|span| span.3 == primary);
        let found: Vec<(usize, bool)> = wanted
            .filter_map(|span| around(&span, exact))
            .flat_map(|stretch| stretch.numbers)
            .map(|number| (number, exact))
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}
