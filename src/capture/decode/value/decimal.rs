//! Decimal text → a JSON number as Postgres' `numeric` would write it: no exponent, every digit, no minus zero.

/// `numeric` holds this many digits before the point …
const MOST_BEFORE: usize = 131_072;
/// … and this many after it.
const MOST_AFTER: usize = 16_383;

/// The text is already what `write` would make of it.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits.split_at(run(digits));
    let whole_fits = match whole {
        [] => false,
        // "-0.5" is plain, "-0" and "-0.0" are not: the slower way tells them apart
        [b'0'] => digits.len() == text.len(),
        [first, ..] => *first != b'0',
    };
    let fraction_fits = match rest.split_first() {
        None => true,
        Some((b'.', fraction)) => !fraction.is_empty() && run(fraction) == fraction.len(),
        Some(_) => false,
    };
    whole_fits && fraction_fits
}

/// Writes the number; `None` (and perhaps something written) when the text is none, or one too long for `numeric`.
/// `NaN` and the infinities are none: they are strings in JSON.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if is_plain(text) {
        out.extend_from_slice(text);
        return Some(());
    }
    let (negative, rest) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let (whole, rest) = rest.split_at(run(rest));
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(run(rest)),
        None => (&rest[..0], rest),
    };
    let exponent = exponent(rest)?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: Vec<u8> = [whole, fraction].concat();
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let scale = usize::try_from(i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?.max(0)).ok()?;
    let zero = digits.iter().all(|digit| *digit == b'0');
    if scale > MOST_AFTER || (!zero && point > MOST_BEFORE as i64) {
        return None;
    }
    if negative && !zero {
        out.push(b'-');
    }
    write_digits(&digits, if zero { point.min(0) } else { point }, scale, out);
    Some(())
}

fn write_digits(digits: &[u8], point: i64, scale: usize, out: &mut Vec<u8>) {
    let before = usize::try_from(point).unwrap_or(0);
    let whole = &digits[..before.min(digits.len())];
    let leading = whole.iter().take_while(|digit| **digit == b'0').count();
    let start = out.len();
    out.extend_from_slice(&whole[leading..]);
    if out.len() > start {
        out.resize(out.len() + before.saturating_sub(digits.len()), b'0');
    } else {
        out.push(b'0');
    }
    if scale == 0 {
        return;
    }
    out.push(b'.');
    let end = out.len() + scale;
    if point < 0 {
        let zeros = usize::try_from(point.unsigned_abs()).unwrap_or(usize::MAX);
        out.resize(out.len() + zeros.min(scale), b'0');
    }
    let rest = &digits[before.min(digits.len())..];
    out.extend_from_slice(&rest[..rest.len().min(end.saturating_sub(out.len()))]);
    out.resize(end, b'0');
}

fn exponent(text: &[u8]) -> Option<i64> {
    let Some((b'e' | b'E', rest)) = text.split_first() else {
        return text.is_empty().then_some(0);
    };
    std::str::from_utf8(rest).ok()?.parse::<i32>().ok().map(i64::from)
}

/// How many digits it begins with.
fn run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numeric_writes_it() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("007.50", "7.50"),
            ("-0.5", "-0.5"),
            ("1.50", "1.50"),
            ("1e+20", "100000000000000000000"),
            ("1.5e-07", "0.00000015"),
            ("-1.2345e+2", "-123.45"),
            ("12345e-2", "123.45"),
            ("12345e-7", "0.0012345"),
            ("0e5", "0"),
            ("0e-3", "0.000"),
            ("0.00e1", "0.0"),
            ("0e999999", "0"),
            ("0.001e2", "0.1"),
            ("0.001e5", "100"),
            ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
        ] {
            let mut out = Vec::new();
            assert_eq!(write(text.as_bytes(), &mut out), Some(()), "{text}");
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text}");
            assert_eq!(is_plain(text.as_bytes()), text == expected && !text.starts_with("-0"), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_long() {
        for text in [
            "",
            "-",
            ".",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e",
            "1x",
            "1.2.3",
            "1e400000",
            "1e-20000",
            "--1",
            "+1",
            "1e99999999999",
        ] {
            assert_eq!(write(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }
}
