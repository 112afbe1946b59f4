//! A position in Postgres' write-ahead log. Knows how it is written, not what stands there.
use std::fmt;
use std::str::FromStr;

/// Byte position in the WAL; written `16/B374D848` (two halves in hex), as Postgres' `pg_lsn` does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No position: Postgres' `InvalidXLogRecPtr`.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |half: &str| u32::from_str_radix(half, 16).ok();
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(u64::from(parse(high)?) << 32 | u64::from(parse(low)?))))
            .ok_or_else(|| format!("'{text}' is no LSN (expected e.g. 16/B374D848)"))
    }
}

#[cfg(test)]
mod tests {
    use super::Lsn;

    #[test]
    fn is_written_as_postgres_writes_it() {
        for (number, text) in [(0, "0/0"), (0x16_B374_D848, "16/B374D848"), (u64::MAX, "FFFFFFFF/FFFFFFFF")] {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Lsn(number)));
        }
        for bad in ["", "/", "1", "1/", "x/1", "1/100000000"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
