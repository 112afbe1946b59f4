//! Reads typed settings out of one TOML table and notes what is wrong with them. Knows no setting by name.
use super::problem::ProblemReport;
use super::units;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of the file, perhaps absent. Every key that is asked for is a known one; `finish` notes the rest.
pub(super) struct Section<'r> {
    report: &'r ProblemReport<'r>,
    path: String,
    line: usize,
    table: Option<&'r DeTable<'r>>,
    known: RefCell<Vec<&'static str>>,
}

/// A value with its line.
pub(super) struct FoundKey<'r> {
    /// The value.
    pub(super) value: &'r DeValue<'r>,
    /// Where it is.
    pub(super) line: usize,
}

impl<'r> Section<'r> {
    /// The whole file.
    pub(super) fn root(report: &'r ProblemReport<'r>, table: &'r DeTable<'r>) -> Self {
        Self { report, path: String::new(), line: 1, table: Some(table), known: RefCell::default() }
    }
    /// A table inside a list of tables.
    pub(super) fn element(&self, key: &str, line: usize, table: &'r DeTable<'r>) -> Section<'r> {
        Section {
            report: self.report,
            path: self.name(key),
            line,
            table: Some(table),
            known: RefCell::default(),
        }
    }
    /// A table inside this one; absent is empty.
    pub(super) fn section(&self, key: &'static str) -> Section<'r> {
        let (mut line, mut table) = (self.line, None);
        if let Some(found) = self.find(key) {
            line = found.line;
            table = found.value.as_table();
            if table.is_none() {
                self.wrong(key, &found, "a table");
            }
        }
        Section { report: self.report, path: self.name(key), line, table, known: RefCell::default() }
    }
    /// Where a key is, or else the table.
    pub(super) fn line_of(&self, key: &'static str) -> usize {
        self.find(key).map_or(self.line, |found| found.line)
    }
    /// Whether the key is written.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }
    /// Notes a problem of a key: `what; what to do`.
    pub(super) fn problem(&self, key: &'static str, text: impl Display) {
        self.report.add(self.line_of(key), format!("{}: {text}", self.name(key)));
    }
    /// Notes that a key does nothing yet.
    pub(super) fn not_yet(&self, key: &'static str, what: &str) {
        self.problem(key, format_args!("not yet: {what}; leave it out"));
    }
    /// The value as written.
    pub(super) fn find(&self, key: &'static str) -> Option<FoundKey<'r>> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        let (spanned, value) = self.table?.get_key_value(key)?;
        Some(FoundKey { value: value.get_ref(), line: self.report.line_of(&spanned.span()) })
    }
    /// A string that may be absent.
    pub(super) fn optional_text(&self, key: &'static str) -> Option<String> {
        let found = self.find(key)?;
        let text = found.value.as_str();
        if text.is_none() {
            self.wrong(key, &found, "a string");
        }
        text.map(str::to_owned)
    }
    /// A string that is not empty.
    pub(super) fn text(&self, key: &'static str, default: &str) -> String {
        match self.optional_text(key) {
            Some(text) if text.is_empty() => {
                self.problem(key, "is empty; give it a value or leave the line out");
                default.to_owned()
            }
            Some(text) => text,
            None => default.to_owned(),
        }
    }
    /// A boolean.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.find(key) else { return default };
        found.value.as_bool().unwrap_or_else(|| {
            self.wrong(key, &found, "true or false");
            default
        })
    }
    /// A whole number within limits.
    pub(super) fn whole(&self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> u64 {
        let Some(found) = self.find(key) else { return default };
        let Some(number) = found.value.as_integer() else {
            self.wrong(key, &found, "a whole number");
            return default;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if limits.contains(&number) => number,
            _ => {
                let (low, high) = limits.into_inner();
                self.problem(
                    key,
                    format_args!("{number} is out of range; choose a number from {low} to {high}"),
                );
                default
            }
        }
    }
    /// A number, whole or not, within limits.
    pub(super) fn real(&self, key: &'static str, default: f64, limits: RangeInclusive<f64>) -> f64 {
        let Some(found) = self.find(key) else { return default };
        let text = match found.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.wrong(key, &found, "a number");
                return default;
            }
        };
        match text.parse::<f64>() {
            Ok(number) if limits.contains(&number) => number,
            _ => {
                let (low, high) = limits.into_inner();
                self.problem(
                    key,
                    format_args!("{text} is out of range; choose a number from {low} to {high}"),
                );
                default
            }
        }
    }
    /// A duration longer than nothing.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        let Some(text) = self.optional_text_or_number(key, units::DURATION_FORM) else { return default };
        match units::duration(&text) {
            Some(Duration::ZERO) => {
                self.problem(key, "must be longer than nothing; choose a duration above 0");
                default
            }
            Some(duration) => duration,
            None => {
                self.problem(key, format_args!("{text:?} is not a duration; {}", units::DURATION_FORM));
                default
            }
        }
    }
    /// A size in bytes, above 0.
    pub(super) fn size(&self, key: &'static str, default: u64) -> u64 {
        let Some(text) = self.optional_text_or_number(key, units::SIZE_FORM) else { return default };
        match units::size(&text) {
            Some(0) | None => {
                self.problem(key, format_args!("{text:?} is not a size above 0; {}", units::SIZE_FORM));
                default
            }
            Some(bytes) => bytes,
        }
    }
    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.optional_text(key) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return *chosen;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.problem(key, format_args!("{text:?} is not known; choose {}", words.join(" or ")));
        default
    }
    /// A string in a form of its own.
    pub(super) fn parsed<T: FromStr>(&self, key: &'static str, default: T, form: &str) -> T {
        let Some(text) = self.optional_text(key) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.problem(key, format_args!("{text:?} is not understood; {form}"));
            default
        })
    }
    /// A list, each element turned into what it stands for; `form` says what an element looks like.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        form: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let found = self.find(key)?;
        let Some(elements) = found.value.as_array() else {
            self.wrong(key, &found, "a list");
            return None;
        };
        let mut list = Vec::new();
        for element in elements {
            match read(element.get_ref()) {
                Some(item) => list.push(item),
                None => self.report.add(
                    self.report.line_of(&element.span()),
                    format!("{}: {} is not understood; {form}", self.name(key), shown(element.get_ref())),
                ),
            }
        }
        Some(list)
    }
    /// Tables of a list, as `[[admin.token]]`, each with its line.
    pub(super) fn tables(&self, key: &'static str) -> Vec<(usize, &'r Spanned<DeValue<'r>>)> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let Some(elements) = found.value.as_array() else {
            self.wrong(key, &found, &format!("a list of tables; begin each with [[{}]]", self.name(key)));
            return Vec::new();
        };
        elements.iter().map(|element| (self.report.line_of(&element.span()), element)).collect()
    }
    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for key in table.keys().filter(|key| !known.iter().any(|known| *known == key.get_ref().as_ref())) {
            let hint = match nearest(key.get_ref(), &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let name = self.name(key.get_ref());
            self.report.add(self.report.line_of(&key.span()), format!("unknown key `{name}`; {hint}"));
        }
    }
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
    fn optional_text_or_number(&self, key: &'static str, form: &str) -> Option<String> {
        let found = self.find(key)?;
        let text = found.value.as_str();
        if text.is_none() {
            self.problem(key, format_args!("{} is not a string; {form}, in quotes", shown(found.value)));
        }
        text.map(str::to_owned)
    }
    fn wrong(&self, key: &'static str, found: &FoundKey<'_>, wanted: &str) {
        let kind = found.value.type_str();
        self.report.add(found.line, format!("{}: is of type {kind}; write {wanted}", self.name(key)));
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}

/// The known key that a typo probably meant: at most two edits away.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|known| (edits(key, known), *known))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein's distance; keys are short.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_key() {
        for (typo, meant) in [
            ("timeuot", Some("timeout")),
            ("max_retrys", Some("max_retries")),
            ("timeout", Some("timeout")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typo, &["timeout", "max_retries"]), meant, "{typo}");
        }
    }
}
