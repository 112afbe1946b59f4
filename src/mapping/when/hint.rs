//! Habits from SQL and other languages, and how a `when` is written instead. Purpose: a refused expression says what to
//! write. Must not: judge whether an expression is right; the grammar does.
use std::fmt::Write;

/// Signs of other languages with their hint; signs of ours have none. Longer ones stand first.
const SIGNS: [(&str, Option<&str>); 13] = [
    ("===", Some("write '==' instead of '==='")),
    ("!==", Some("write '!=' instead of '!=='")),
    ("==", None),
    ("!=", None),
    ("<=", None),
    (">=", None),
    ("<>", Some("write '!=' instead of '<>'")),
    ("&&", Some("write 'and' instead of '&&'")),
    ("||", Some("write 'or' instead of '||'; '~' joins texts")),
    ("::", Some("write a filter instead of a cast: new.x | int")),
    ("!", Some("write 'not' instead of '!'")),
    ("=", Some("write '==' to compare")),
    (";", Some("leave the ';' out")),
];

/// The text of an error, followed by a hint for every habit in the source that it does not name yet.
pub(in crate::mapping) fn explain(source: &str, mut text: String) -> String {
    for hint in hints(source) {
        if !text.contains(&hint) {
            // Writing into a string cannot fail.
            let _ = write!(text, "; {hint}");
        }
    }
    text
}

/// A hint for a word that other languages have.
pub(in crate::mapping) fn word(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    Some(match lower.as_str() {
        "null" | "nil" => "NULL is none: write 'is none' or 'is not none'".to_owned(),
        "like" | "ilike" => {
            "write 'is startingwith', 'is endingwith' or 'is containing' instead of LIKE".to_owned()
        }
        "between" => "write '1 <= new.x <= 9' instead of BETWEEN".to_owned(),
        "coalesce" | "ifnull" | "nvl" => "write 'new.x | default(0)' instead of a call".to_owned(),
        "and" | "or" | "not" | "in" | "is" | "if" | "else" if word != lower => {
            format!("write '{lower}' in lower case")
        }
        // the grammar also takes True, False and None
        "true" | "false" | "none" if word.chars().skip(1).any(char::is_uppercase) => {
            format!("write '{lower}' in lower case")
        }
        _ => return None,
    })
}

/// A hint for every habit outside of texts, in order, each once.
fn hints(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (taken, hint) = match first {
            '\'' | '"' => quoted(rest, first),
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                // new.null is a column
                (end, if before == '.' { None } else { word(&rest[..end]) })
            }
            other => sign(rest, other),
        };
        found.extend(hint.filter(|hint| !found.contains(hint)));
        if !first.is_whitespace() {
            before = first;
        }
        rest = &rest[taken..];
    }
    found
}

/// Length of the text that begins here, and what is wrong with its quotes.
fn quoted(rest: &str, quote: char) -> (usize, Option<String>) {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => {
                let end = at + c.len_utf8();
                let doubled = rest[end..].starts_with(quote);
                return (end, doubled.then(|| format!("write \\{quote} for a quote inside a text")));
            }
            _ => {}
        }
    }
    (rest.len(), Some(format!("close the text with {quote}")))
}

fn sign(rest: &str, first: char) -> (usize, Option<String>) {
    match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        Some((sign, hint)) => (sign.len(), hint.map(str::to_owned)),
        None => (first.len_utf8(), None),
    }
}
