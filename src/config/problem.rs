//! What is wrong with a configuration file: all of it at once, each with its line. Knows no setting.
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Everything that is wrong with a file, sorted by line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    file: String,
    found: Vec<(usize, String)>,
}

impl Problems {
    /// A single one that has no line (line 0), as for a file that cannot be read.
    pub fn whole_file(file: &str, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), found: vec![(0, text.into())] }
    }
    /// Line (0: the environment or the whole file) and text of each.
    pub fn found(&self) -> &[(usize, String)] {
        &self.found
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (line, text)) in self.found.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            match line {
                0 => write!(f, "{newline}{}: {text}", self.file)?,
                line => write!(f, "{newline}{}:{line}: {text}", self.file)?,
            }
        }
        Ok(())
    }
}

/// Collects problems while a file is walked.
pub(super) struct ProblemReport<'t> {
    file: &'t str,
    line_starts: Vec<usize>,
    found: RefCell<Vec<(usize, String)>>,
    unreadable: RefCell<Vec<usize>>,
}

impl<'t> ProblemReport<'t> {
    pub(super) fn new(file: &'t str, text: &str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1))).collect();
        Self { file, line_starts, found: RefCell::default(), unreadable: RefCell::default() }
    }
    /// The line, counted from 1, on which a span begins.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start).max(1)
    }
    /// Notes one: `what; what to do`.
    pub(super) fn add(&self, line: usize, text: impl Into<String>) {
        if line == 0 || !self.unreadable.borrow().contains(&line) {
            self.found.borrow_mut().push((line, text.into()));
        }
    }
    /// Notes that a line has no value to judge: whatever else is said of the line would only mislead.
    pub(super) fn unreadable(&self, line: usize, text: impl Into<String>) {
        self.unreadable.borrow_mut().push(line);
        self.found.borrow_mut().retain(|(of, _)| *of != line);
        self.found.borrow_mut().push((line, text.into()));
    }
    pub(super) fn finish(self) -> Result<(), Problems> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        found.dedup();
        Err(Problems { file: self.file.to_owned(), found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_problems_are_sorted() {
        let report = ProblemReport::new("f.toml", "a\nbb\n\nc");
        for (offset, line) in [(0, 1), (1, 1), (2, 2), (4, 2), (5, 3), (6, 4), (99, 4)] {
            assert_eq!(report.line_of(&(offset..offset)), line, "offset {offset}");
        }
        report.add(4, "late");
        report.add(0, "no line");
        report.add(2, "early");
        report.add(2, "early");
        report.add(3, "before");
        report.unreadable(3, "no value");
        report.add(3, "after");
        let problems = report.finish().unwrap_err();
        assert_eq!(
            problems.to_string(),
            "f.toml: no line\nf.toml:2: early\nf.toml:3: no value\nf.toml:4: late"
        );
    }
}
