//! The `[[event]]` entries: each with its line. What they mean is the mapping's business.
use super::problem::Report;
use super::section::Section;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

/// One entry as the mapping reads it.
pub type EventSpec = toml::Table;
/// Line and entry.
pub type EventEntry = (usize, EventSpec);

/// Reads them all; what does not fit is noted with the line of the key.
pub(super) fn read(root: &Section<'_>, report: &Report<'_>) -> Vec<EventEntry> {
    root.tables("event").into_iter().filter_map(|(line, entry)| one(line, entry, report)).collect()
}

fn one<T: DeserializeOwned>(
    line: usize,
    entry: &Spanned<DeValue<'_>>,
    report: &Report<'_>,
) -> Option<(usize, T)> {
    match T::deserialize(ValueDeserializer::from(entry.clone())) {
        Ok(spec) => Some((line, spec)),
        Err(error) => {
            let at = error.span().map_or(line, |span| report.line_of(&span));
            let what = error.message().replace('\n', ", ");
            report.add(at, format!("event: {what}; see the keys under [[event]] in config/tailhook.toml"));
            None
        }
    }
}
