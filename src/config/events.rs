//! The `[[event]]` entries: each with its line, and compiled. What they mean is the mapping's business.
use super::problem::ProblemReport;
use super::section::Section;
use crate::mapping::{EventSpec, Mapping, RuleProblem};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// Line and entry.
pub type EventEntry = (usize, EventSpec);

/// Reads and compiles them all; what does not fit is noted with the line of its key.
pub(super) fn read(root: &Section<'_>, report: &ProblemReport<'_>) -> (Vec<EventEntry>, Mapping) {
    let entries = root.tables("event");
    let events: Vec<EventEntry> =
        entries.iter().filter_map(|(line, entry)| Some((*line, one(*line, entry, report)?))).collect();
    let mapping = Mapping::compile(events.clone()).unwrap_or_else(|problems| {
        for problem in problems {
            let entry = entries.iter().find(|(line, _)| *line == problem.line);
            let table = entry.and_then(|(_, entry)| entry.get_ref().as_table());
            let line = table.and_then(|table| line_of_key(&problem, table, report)).unwrap_or(problem.line);
            report.add(line, format!("event {}; correct the entry", problem.text));
        }
        Mapping::default()
    });
    (events, mapping)
}

fn one(line: usize, entry: &Spanned<DeValue<'_>>, report: &ProblemReport<'_>) -> Option<EventSpec> {
    match EventSpec::deserialize(ValueDeserializer::from(entry.clone())) {
        Ok(spec) => Some(spec),
        Err(error) => {
            let at = error.span().map_or(line, |span| report.line_of(&span));
            let what = error.message().replace('\n', ", ");
            report.add(at, format!("event: {what}; correct the key, or leave it out"));
            None
        }
    }
}

/// A problem begins with the rule's name and then the key that it is about, where there is one.
fn line_of_key(problem: &RuleProblem, entry: &DeTable<'_>, report: &ProblemReport<'_>) -> Option<usize> {
    let (_, about) = problem.text.split_once(": ")?;
    let word: String = about.chars().take_while(char::is_ascii_lowercase).collect();
    let (key, _) = entry.get_key_value(word.as_str())?;
    Some(report.line_of(&key.span()))
}
