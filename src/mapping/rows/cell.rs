//! Values that are JSON already: their text, their equality. Knows no rows and no rules.
use crate::domain::{Cell, TypeKind, json};
use crate::fault;
use crate::mapping::when::decimal::Decimal;
use std::borrow::Cow;

/// The text of a JSON scalar: a string without quotes, anything else as it stands. `None`: no UTF-8 or a broken string.
pub(in crate::mapping) fn text(json: &[u8]) -> Option<Cow<'_, str>> {
    let whole = std::str::from_utf8(json).ok()?;
    let Some(inner) = whole.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Some(Cow::Borrowed(whole));
    };
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(whole).ok().map(Cow::Owned)
}

/// Are two values of a column the same value? NULL equals NULL; numbers by value, json by content, the rest by text.
pub(in crate::mapping) fn same(kind: &TypeKind, a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Json(a), Cell::Json(b)) => a == b || same_json(kind, a, b),
        _ => a == b,
    }
}

/// Do values of this type compare as numbers?
pub(in crate::mapping) fn is_numeric(kind: &TypeKind) -> bool {
    matches!(kind, TypeKind::Integer | TypeKind::Float | TypeKind::Numeric)
}

fn same_json(kind: &TypeKind, a: &[u8], b: &[u8]) -> bool {
    match kind {
        kind if is_numeric(kind) => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
        // only reached when the bytes differ
        TypeKind::Json | TypeKind::Array(..) => match (parsed(a), parsed(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
        _ => match (text(a), text(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

fn parsed(json: &[u8]) -> Option<serde_json::Value> {
    json::parse(json).ok()
}

/// The number that a JSON number, or a string like `"NaN"`, stands for.
pub(in crate::mapping) fn number(json: &[u8]) -> Option<Decimal> {
    Decimal::parse(&text(json)?)
}

/// Appends a JSON string.
pub(in crate::mapping) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            0..=0x1F => b'u',
            _ => continue,
        };
        if fault::planted("quotes-not-escaped") {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn cell(json: &str) -> Cell {
        if json == "null" { Cell::Null } else { Cell::Json(Bytes::copy_from_slice(json.as_bytes())) }
    }

    #[test]
    fn scalars_have_a_text() {
        for (json, expected) in [
            (r#""abc""#, "abc"),
            (r#""a\"b\u00e9""#, "a\"bé"),
            ("12.50", "12.50"),
            ("true", "true"),
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#""""#, ""),
        ] {
            assert_eq!(text(json.as_bytes()).as_deref(), Some(expected), "{json}");
        }
        assert_eq!(text(b"\"\xFF\""), None);
        assert_eq!(text(br#""\x""#), None);
        assert_eq!(text(br#"""#).as_deref(), Some("\""));
    }

    #[test]
    fn equality_follows_the_type() {
        let array = TypeKind::Array(Box::new(TypeKind::Integer), b',');
        for (kind, a, b, expected) in [
            (&TypeKind::Numeric, "1", "1.00", true),
            (&TypeKind::Numeric, "1", "1.01", false),
            (&TypeKind::Numeric, "\"NaN\"", "\"NaN\"", true),
            // what a float cannot tell apart, and what it can
            (&TypeKind::Numeric, "12345678901234567.01", "12345678901234567.02", false),
            (&TypeKind::Numeric, "9007199254740992", "9007199254740993", false),
            (&TypeKind::Integer, "9007199254740992", "9007199254740993", false),
            (&TypeKind::Numeric, "0.1", "0.1000000000000000055", false),
            (&TypeKind::Numeric, "1e400", "2e400", false),
            (&TypeKind::Float, "1e2", "100", true),
            (&TypeKind::Text, "\"1\"", "\"1.00\"", false),
            (&TypeKind::Text, "\"\\u0061\"", "\"a\"", true),
            (&TypeKind::Json, r#"{"a": 1, "b":2}"#, r#"{"b":2,"a":1}"#, true),
            (&TypeKind::Json, r#"{"a": 1}"#, r#"{"a":2}"#, false),
            (&TypeKind::Json, "{", "{ ", false),
            (&array, "[1, 2]", "[1,2]", true),
            (&TypeKind::Bool, "true", "false", false),
            (&TypeKind::Bool, "true", "null", false),
            (&TypeKind::Bool, "null", "null", true),
        ] {
            assert_eq!(same(kind, &cell(a), &cell(b)), expected, "{kind:?} {a} {b}");
        }
    }

    /// Bodies are signed as bytes: the same text is always written the same way, the shortest.
    #[test]
    fn a_string_is_written_in_one_way() {
        let mut out = Vec::new();
        push_string(&mut out, "é\"\\/\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}x");
        let written = r#""é\"\\/\n\r\t\b\f\u0001\u001f"#.to_owned() + "\u{7f}x\"";
        assert_eq!(String::from_utf8(out).unwrap(), written);
    }

    proptest! {
        #![proptest_config(crate::mapping::tests::steady())]

        #[test]
        fn strings_are_json_whatever_they_hold(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            prop_assert_eq!(super::text(&out).unwrap().into_owned(), text);
        }
        #[test]
        fn any_bytes_are_survived(bytes in any::<Vec<u8>>()) {
            let _ = (text(&bytes), number(&bytes));
        }
    }
}
