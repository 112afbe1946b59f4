//! Names of tables and how they are quoted in SQL. Pure.
use std::fmt;

/// `schema.table`, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub name: String,
}

impl TableName {
    /// From its parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
    /// Reads `schema.table`, or `table` in `public`. Without quotes: the first dot parts.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::new("public", text),
        }
    }
    /// Where subscriptions live.
    pub fn subscriptions(schema: &str) -> Self {
        Self::new(schema, "webhook_subscriptions")
    }
    /// For SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// An identifier for SQL; plain lower-case ones stay readable.
pub fn quote(identifier: &str) -> String {
    let plain = !identifier.is_empty()
        && !identifier.starts_with(|c: char| c.is_ascii_digit())
        && identifier.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if plain && !RESERVED.contains(&identifier) {
        return identifier.to_string();
    }
    // no identifier holds NUL; without this the message to the server would be cut
    format!("\"{}\"", identifier.replace('\0', "").replace('"', "\"\""))
}

/// A string for SQL.
pub fn literal(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

/// Reserved words of Postgres (fully, and those that may only name functions or types).
const RESERVED: [&str; 100] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_needed_and_always_safely() {
        for (name, quoted) in [
            ("invoices", "invoices"),
            ("Invoices", "\"Invoices\""),
            ("order", "\"order\""),
            ("2nd", "\"2nd\""),
            ("a\"; DROP TABLE x; --", "\"a\"\"; DROP TABLE x; --\""),
            ("a\0b", "\"ab\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote(name), quoted);
        }
        assert_eq!(literal("o'clock"), "'o''clock'");
        assert_eq!(literal("a\\'"), " E'a\\\\'''");
        assert_eq!(TableName::parse("a.b.c").quoted(), "a.\"b.c\"");
        assert_eq!(TableName::parse("invoices").to_string(), "public.invoices");
    }
}
