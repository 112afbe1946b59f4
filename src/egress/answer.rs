//! What an answer says beside its status, pure. Every byte here is the receiver's: bounded and made printable.
use crate::fault;
use std::time::{Duration, UNIX_EPOCH};

/// Characters of a receiver's text that are kept for people.
const DETAIL: usize = 500;

/// `Retry-After` in milliseconds: seconds, or an HTTP date in relation to `now_ms` (Unix). `None` if it is neither.
pub fn retry_after_ms(value: &str, now_ms: i64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number is "very long", not "malformed".
        return Some(value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms.max(0) as u64);
    Some(date.duration_since(now).map_or(0, |wait| wait.as_millis() as u64))
}

/// One printable line of at most 500 characters; `None` if nothing is left.
pub fn printable(bytes: &[u8]) -> Option<String> {
    let mut line = String::new();
    let mut count = 0;
    let parts = |c: char| c.is_whitespace() || c.is_control() && !fault::planted("control-characters-kept");
    for word in String::from_utf8_lossy(bytes).split(parts) {
        if word.is_empty() {
            continue;
        }
        let gap = usize::from(!line.is_empty());
        let room = DETAIL.saturating_sub(count + gap);
        if room == 0 {
            break;
        }
        if gap == 1 {
            line.push(' ');
        }
        // Marks that turn the direction of text could disguise what follows them.
        line.extend(word.chars().filter(|c| !is_invisible(*c)).take(room));
        count = line.chars().count();
    }
    Some(line).filter(|line| !line.is_empty())
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after_ms(value, now), expected, "{value}");
        }
    }

    #[test]
    fn text_of_others_is_cut_and_made_printable() {
        for (given, expected) in [
            (&b""[..], None),
            (b"\0\x1b\r\n ", None),
            (b"no\r\nsuch \x1b[31m tenant\0", Some("no such [31m tenant")),
            (b"caf\xc3\xa9 \xff", Some("caf\u{e9} \u{fffd}")),
            ("a\u{202e}b\u{200b}".as_bytes(), Some("ab")),
        ] {
            assert_eq!(printable(given).as_deref(), expected);
        }
        assert_eq!(printable("é".repeat(4096).as_bytes()).map(|line| line.chars().count()), Some(500));
        assert_eq!(printable("é ".repeat(4096).as_bytes()).map(|line| line.chars().count()), Some(499));
    }
}
