//! JSON of others as a value. Knows no meaning.
use serde::de::Error;
use serde_json::Value;

/// `serde_json` gives objects whose first key begins like this a meaning of their own: a number, or text to be parsed once more,
/// from depth 0. What nests by such keys exhausts the stack, past the crate's limit of 128 levels.
const RESERVED: &str = "$serde_json::";

/// The value; text that holds a reserved key is refused, escaped or not.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let text = std::str::from_utf8(text).map_err(Error::custom)?;
    if text.contains(RESERVED) || (text.contains(ESCAPE) && unescaped(text).contains(RESERVED)) {
        return Err(Error::custom(format!("a text that holds {RESERVED} is refused")));
    }
    serde_json::from_str(text)
}

/// How escapes of Latin letters begin.
const ESCAPE: &str = "\\u00";

/// Only good for looking into: `\\u0041` too becomes a letter.
fn unescaped(text: &str) -> String {
    let mut parts = text.split(ESCAPE);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.extend(byte.map(char::from));
        plain.push_str(part.get(2..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_refused_however_they_are_written() {
        let key = r#""$serde_json::private::RawValue""#;
        for (text, good) in [
            (r#"{"a":[1.10,"\u00e9\\u00zz"],"b":null}"#.to_owned(), true),
            (format!(r#"{{{key}:"1"}}"#), false),
            (format!(r#"[{{"x":{{{}:"1"}}}}]"#, key.replace('p', "\\u0070")), false),
            (format!(r#"{{{}:"1"}}"#, key.replace('$', "\\u0024").replace(':', "\\u003A")), false),
            ("[".repeat(128) + &"]".repeat(128), false),
        ] {
            assert_eq!(parse(text.as_bytes()).is_ok(), good, "{text}");
        }
        assert!(parse(b"\"\xFF\"").is_err());
    }
}
