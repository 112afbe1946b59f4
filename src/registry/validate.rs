//! What a subscription may say (SPEC 6), for the API and for rows written by SQL alike. Pure; the address guard is asked
//! elsewhere.
use super::seal::{Field, Sealer};
use crate::domain::{Options, Pattern, Secret, is_reserved};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Which field.
    pub field: String,
    /// For machines: `invalid`, `too_long`, `not_yet`, `unknown_field`, …
    pub code: &'static str,
    /// For people. Never holds a secret.
    pub message: String,
}

impl Invalid {
    /// One.
    pub fn new(field: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// The keys of `Options` that a request or a row may set.
pub const OPTIONS: [&str; 5] = ["description", "headers", "profile", "rate", "ordering"];
/// Keys of the contract that do nothing yet: refused, never ignored.
pub const NOT_YET: [&str; 3] = ["filter", "transform", "batch"];
const MOST_HEADERS: usize = 20;
const LONGEST_HEADER: usize = 1024;
const LONGEST_DESCRIPTION: usize = 1000;
const HIGHEST_RATE: u32 = 100_000;

/// An event name, `resource.*`, or `*`.
pub fn pattern(text: &str) -> Result<Pattern, Invalid> {
    Pattern::parse(text).map_err(|why| Invalid::new("event", "invalid", shorten(&why)))
}

/// 10–2048 characters, absolute, http or https, a host, no user info. Which of the schemes, ports and addresses are
/// allowed is the guard's matter.
pub fn url(text: &str) -> Result<(), Invalid> {
    let refuse = |message: &str| Err(Invalid::new("url", "invalid", message));
    if !(10..=2048).contains(&text.chars().count()) {
        return refuse("the URL must have 10 to 2048 characters");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("the URL holds white space or control characters");
    }
    // of these schemes the parser takes no URL without a host
    match url::Url::parse(text) {
        Err(why) => refuse(&format!("this is no URL: {why}")),
        Ok(url) if !matches!(url.scheme(), "https" | "http") => refuse("the URL must begin with https://"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            refuse("the URL must not hold a user name or password; use a header")
        }
        Ok(_) => Ok(()),
    }
}

/// 8–500 characters; a `whsec_` one is base64 of 24–64 bytes.
pub fn secret(text: &str) -> Result<(), Invalid> {
    let refuse = |message| Err(Invalid::new("secret", "invalid", message));
    if !(8..=500).contains(&text.chars().count()) {
        return refuse("the secret must have 8 to 500 characters");
    }
    if text.contains('\0') {
        return refuse("the secret must not hold a NUL character");
    }
    if Sealer::is_sealed(text) {
        return refuse("the secret must not begin with 'sealed:'");
    }
    let Some(rest) = text.strip_prefix("whsec_") else { return Ok(()) };
    match STANDARD.decode(rest) {
        Ok(key) if (24..=64).contains(&key.len()) => Ok(()),
        _ => refuse("a 'whsec_' secret must be base64 of 24 to 64 bytes"),
    }
}

/// Who wrote the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: everything is clear.
    Request,
    /// A row: what the API wrote is sealed, what SQL wrote may be clear.
    Row,
}

/// Options that may be routed once their headers are sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// All but the headers.
    pub options: Options,
    /// Values by lower-case name: clear, or of a row and sealed already.
    pub headers: BTreeMap<String, Secret>,
}

/// The options of a request's body or of a row; nulls count as left out.
pub fn options(given: &Map<String, Value>, origin: Origin) -> Result<Checked, Vec<Invalid>> {
    let mut wrong = Vec::new();
    for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if NOT_YET.contains(&key.as_str()) {
            wrong.push(Invalid::new(key, "not_yet", format!("'{key}' is not supported yet")));
        } else if key == "profile" && value == "standard" {
            wrong.push(Invalid::new(key, "not_yet", "the profile 'standard' is not supported yet"));
        } else if !OPTIONS.contains(&key.as_str()) {
            let message = format!("'{}' is not known", shorten(key));
            wrong.push(Invalid::new(&shorten(key), "unknown_field", message));
        }
    }
    let Checked { mut options, headers: mut values } = Checked::default();
    let mut take = |key: &str, set: &mut dyn FnMut(&Value) -> Result<(), String>| {
        if let Some(value) = given.get(key).filter(|value| !value.is_null())
            && let Err(message) = set(value)
        {
            wrong.push(Invalid::new(key, "invalid", message));
        }
    };
    take("description", &mut |v| description(v).map(|d| options.description = Some(d)));
    take("headers", &mut |v| headers(v, origin).map(|h| values = h));
    take("rate", &mut |v| rate(v).map(|r| options.rate = Some(r)));
    take("ordering", &mut |v| word(v, "resource, endpoint or none").map(|o| options.ordering = Some(o)));
    if given.get("profile").is_some_and(|v| v != "standard") {
        take("profile", &mut |v| word(v, "classic").map(|p| options.profile = Some(p)));
    }
    if wrong.is_empty() { Ok(Checked { options, headers: values }) } else { Err(wrong) }
}

fn word<T: serde::de::DeserializeOwned>(value: &Value, words: &str) -> Result<T, String> {
    T::deserialize(value).map_err(|_| format!("must be {words}"))
}

fn description(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if text.chars().count() > LONGEST_DESCRIPTION {
        return Err(format!("must have at most {LONGEST_DESCRIPTION} characters"));
    }
    if text.contains('\0') {
        // Postgres stores none
        return Err("must not hold a NUL character".into());
    }
    Ok(text.to_string())
}

fn rate(value: &Value) -> Result<u32, String> {
    let rate = value.as_u64().and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate <= HIGHEST_RATE);
    rate.ok_or_else(|| {
        format!("must be a whole number of requests per second, 0 (no limit) to {HIGHEST_RATE}")
    })
}

fn headers(value: &Value, origin: Origin) -> Result<BTreeMap<String, Secret>, String> {
    let object = value.as_object().ok_or("must be an object of strings")?;
    if object.len() > MOST_HEADERS {
        return Err(format!("at most {MOST_HEADERS} headers"));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in object {
        let shown = shorten(name);
        let known = http::HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("'{shown}' is no header name"))?;
        let known = known.as_str();
        if name.len() > 100 {
            return Err(format!("'{shown}' is too long for a header name"));
        }
        if is_reserved(known) {
            return Err(format!("the header '{known}' is set by the sender itself"));
        }
        let text = value.as_str().ok_or_else(|| format!("the value of '{known}' must be a string"))?;
        header_value(known, text, origin)?;
        if headers.insert(known.to_string(), Secret::new(text)).is_some() {
            return Err(format!("the header '{known}' is given twice"));
        }
    }
    Ok(headers)
}

fn header_value(name: &str, text: &str, origin: Origin) -> Result<(), String> {
    if Sealer::is_sealed(text) {
        return match origin {
            Origin::Request => Err(format!("the value of '{name}' must not begin with 'sealed:'")),
            Origin::Row if Sealer::well_formed(Field::Header(name), text) => Ok(()),
            Origin::Row => Err(format!("the value of '{name}' is sealed but damaged, or not for a header")),
        };
    }
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~')) && text.trim() == text;
    if text.len() > LONGEST_HEADER || !printable {
        return Err(format!(
            "the value of '{name}' must be at most {LONGEST_HEADER} printable ASCII characters without outer spaces"
        ));
    }
    Ok(())
}

/// What was given is repeated to people only in part.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 200 {
        return text.to_string();
    }
    text.chars().take(199).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls() {
        for good in [
            "https://a.example/hook",
            "http://127.0.0.1:8080/x",
            &format!("https://a.example/{}", "x".repeat(2030)),
        ] {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "https://a",
            "ftp://a.example/x",
            "https://u:p@a.example/",
            "https://u@a.example/",
            "/relative/path",
            "https://a.example/ x",
            "https://a.example/\n",
            &format!("https://a.example/{}", "x".repeat(2031)),
            "javascript:alert(1)",
            "https://:443/hook",
            "https:///////////",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets() {
        let whsec = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        for good in ["12345678", &"x".repeat(500), "ünïcödé8", &whsec(24), &whsec(64)] {
            assert_eq!(secret(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1234567",
            &"x".repeat(501),
            &whsec(23),
            &whsec(65),
            "whsec_%%%%%%",
            "sealed:v1:AAAA",
            "12345678\0",
        ] {
            let why = secret(bad).unwrap_err();
            assert!(bad.is_empty() || !why.message.contains(bad), "{bad}");
        }
    }

    #[test]
    fn options_good_bad_and_not_yet() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let good = json!({"description": "d", "headers": {"X-Api-Key": "k"}, "rate": 5, "ordering": "none", "profile": "classic", "batch": null});
        let read = options(&object(good), Origin::Request).unwrap();
        assert_eq!((read.options.rate, read.headers["x-api-key"].expose()), (Some(5), "k"));
        for (bad, field, code) in [
            (json!({"filter": "x"}), "filter", "not_yet"),
            (json!({"transform": "x"}), "transform", "not_yet"),
            (json!({"batch": {"max_events": 2}}), "batch", "not_yet"),
            (json!({"profile": "standard"}), "profile", "not_yet"),
            (json!({"profile": "other"}), "profile", "invalid"),
            (json!({"colour": 1}), "colour", "unknown_field"),
            (json!({"rate": -1}), "rate", "invalid"),
            (json!({"rate": 1.5}), "rate", "invalid"),
            (json!({"ordering": "strict"}), "ordering", "invalid"),
            (json!({"headers": []}), "headers", "invalid"),
            (json!({"headers": {"Host": "x"}}), "headers", "invalid"),
            (json!({"headers": {"X-Signature": "x"}}), "headers", "invalid"),
            (json!({"headers": {"Webhook-Id": "x"}}), "headers", "invalid"),
            (json!({"headers": {"HTTP2-Settings": "x"}}), "headers", "invalid"),
            (json!({"headers": {"X-A": "sealed:v2:AAAA"}}), "headers", "invalid"),
            (json!({"headers": {"bad name": "x"}}), "headers", "invalid"),
            (json!({"headers": {"X-A": "a\r\nb"}}), "headers", "invalid"),
            (json!({"headers": {"X-A": "a", "x-a": "b"}}), "headers", "invalid"),
            (json!({"description": "x".repeat(1001)}), "description", "invalid"),
            (json!({"description": "a\0b"}), "description", "invalid"),
        ] {
            let wrong = options(&object(bad.clone()), Origin::Request).unwrap_err();
            assert_eq!((wrong[0].field.as_str(), wrong[0].code, wrong.len()), (field, code, 1), "{bad}");
        }
        let refused =
            |value: Value| options(&object(value), Origin::Request).map_err(|wrong| wrong[0].message.clone());
        for (longest, one_more) in [
            (json!({"description": "é".repeat(1000)}), json!({"description": "é".repeat(1001)})),
            (json!({"rate": 100_000}), json!({"rate": 100_001})),
            (json!({"headers": {"x".repeat(100): "v"}}), json!({"headers": {"x".repeat(101): "v"}})),
            (json!({"headers": {"x-a": "v".repeat(1024)}}), json!({"headers": {"x-a": "v".repeat(1025)}})),
        ] {
            assert!(refused(longest.clone()).is_ok() && refused(one_more).is_err(), "{longest}");
        }
        assert!(refused(json!({"headers": {"x-a": " v"}})).is_err(), "outer spaces");
        assert!(refused(json!({"headers": {"x-a": ""}})).is_ok());
        let most: Map<String, Value> = (0..20).map(|n| (format!("x-{n}"), json!("v"))).collect();
        assert!(refused(json!({"headers": most})).is_ok());
        // what was given is repeated to people only in part
        let shown = |length| refused(json!({"k".repeat(length): 1})).unwrap_err();
        assert_eq!(shown(200), format!("'{}' is not known", "k".repeat(200)));
        assert_eq!(shown(201), format!("'{}…' is not known", "k".repeat(199)));
        let many: Map<String, Value> = (0..21).map(|n| (format!("x-{n}"), json!("v"))).collect();
        assert!(options(&object(json!({"headers": many})), Origin::Request).is_err());
        let two = object(json!({"filter": "x", "rate": -1}));
        assert_eq!(options(&two, Origin::Request).unwrap_err().len(), 2);
    }
}
