//! `"10s"` and `"256KiB"`. Pure; knows no setting.
use std::time::Duration;

/// What a duration may look like, for messages.
pub(super) const DURATION_FORM: &str =
    "write a whole number and a unit, as \"500ms\", \"10s\", \"5m\", \"2h\" or \"7d\"";
/// What a size may look like, for messages.
pub(super) const SIZE_FORM: &str =
    "write a whole number and a unit, as \"512B\", \"256KiB\", \"64MiB\" or \"1GiB\"";

/// Longer ones are mistakes, and would overflow a timestamp.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A duration of at most a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let found = Duration::from_millis(number.checked_mul(millis_each)?);
    (found <= LONGEST).then_some(found)
}

/// Bytes. Units are binary; `KB`, `MB`, `GB` and `TB` are the decimal ones.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes_each: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(bytes_each)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    Some((digits.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("7d", Some(604_800_000)),
            ("0s", Some(0)),
            ("10 s", Some(10_000)),
            ("10", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("10S", None),
            ("36501d", None),
            ("18446744073709551615d", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("256KiB", Some(262_144)),
            ("1GiB", Some(1 << 30)),
            ("20GB", Some(20_000_000_000)),
            ("12B", Some(12)),
            ("12", None),
            ("12 MiB", Some(12 << 20)),
            ("1Kib", None),
            ("18446744073709551615KiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
