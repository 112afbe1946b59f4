//! The query of a list: read strictly, so that a mistyped filter is an error and not a longer list. Pure.
use super::problem::Problem;
use crate::registry::validate::Invalid;
use std::collections::BTreeMap;

/// Entries of a page.
pub(super) const LARGEST_PAGE: usize = 100;

/// The pairs of a query, only those that are known.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs = BTreeMap::new();
        let mut wrong = Vec::new();
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let shown: String = key.chars().take(100).collect();
            if !known.contains(&key.as_ref()) {
                wrong.push(Invalid::new(
                    &shown,
                    "unknown_field",
                    format!("is not one of {}", known.join(", ")),
                ));
            } else if pairs.insert(key.into_owned(), value.into_owned()).is_some() {
                wrong.push(Invalid::new(&shown, "invalid", "is given twice"));
            }
        }
        if wrong.is_empty() { Ok(Self(pairs)) } else { Err(Problem::invalid(wrong)) }
    }
    /// A value; an empty one counts as left out.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
    /// A value that must be understood.
    pub(super) fn parse<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let wrong = || Problem::invalid(vec![Invalid::new(key, "invalid", format!("must be {expected}"))]);
        read(text).map(Some).ok_or_else(wrong)
    }
    /// `limit`, 1 to 100.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        Ok(self.parse("limit", "a number from 1 to 100", read)?.unwrap_or(LARGEST_PAGE))
    }
    /// A time in RFC 3339 as Unix microseconds. A `+` that became a space is read as one.
    pub(super) fn time(&self, key: &str) -> Result<Option<i64>, Problem> {
        let read = |text: &str| {
            let text = text.trim().replace(' ', "+");
            text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
        };
        self.parse(key, "a time like 2026-02-14T10:30:00Z", read)
    }
    /// `Link` to the page after `cursor`, with the same filters.
    pub(super) fn next_link(&self, path: &str, cursor: &str) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(self.0.iter().filter(|(key, _)| *key != "after"));
        pairs.append_pair("after", cursor);
        format!("<{path}?{}>; rel=\"next\"", pairs.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pairs_only_and_each_once() {
        let known = ["event", "since", "limit", "after"];
        let query = Query::read(Some("event=a.b&since=2026-02-14T10:30:00+00:00&after=x"), &known).unwrap();
        assert_eq!(query.get("event"), Some("a.b"));
        assert_eq!(query.time("since").unwrap(), Some(1_771_065_000_000_000));
        assert_eq!(query.limit().unwrap(), 100);
        let link = query.next_link("/x", "c\"d");
        assert_eq!(link, "</x?event=a.b&since=2026-02-14T10%3A30%3A00+00%3A00&after=c%22d>; rel=\"next\"");
        for bad in ["stauts=x", "event=a&event=b"] {
            assert!(Query::read(Some(bad), &known).is_err(), "{bad}");
        }
        for bad in ["limit=0", "limit=101", "limit=x"] {
            assert!(Query::read(Some(bad), &known).unwrap().limit().is_err(), "{bad}");
        }
        assert!(Query::read(Some("since=yesterday"), &known).unwrap().time("since").is_err());
    }

    #[test]
    fn what_is_left_out_is_nothing_and_what_is_allowed_is_taken() {
        let query = |text| Query::read(text, &["event", "since", "limit"]).unwrap();
        for empty in [None, Some(""), Some("event=&since=&limit=")] {
            let query = query(empty);
            assert_eq!(
                (query.get("event"), query.time("since").unwrap(), query.limit().unwrap()),
                (None, None, 100)
            );
        }
        for (text, limit) in [("limit=1", 1), ("limit=2", 2), ("limit=100", 100)] {
            assert_eq!(query(Some(text)).limit().unwrap(), limit);
        }
        assert_eq!(query(Some("since=1970-01-01T00:00:00.000007Z")).time("since").unwrap(), Some(7));
    }
}
