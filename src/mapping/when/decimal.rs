//! Numbers as conditions see them: exact decimals with Postgres' order. Knows no columns and no rules.
use bigdecimal::{BigDecimal, Zero};
use std::str::FromStr;

/// Longer numbers are not judged: parsing and dividing are quadratic, and a row must not cost milliseconds.
const MAX_TEXT: usize = 2_000;
/// Postgres' `numeric` reaches 131,072 digits; conditions need far fewer, and aligning scales costs memory.
const MAX_SCALE: i64 = 2_000;
/// Bits of a result's digits: about 4,000 digits.
const MAX_BITS: u64 = 13_300;

/// A number. The order is Postgres': `-Infinity` < finite < `Infinity` < `NaN`, and `NaN` equals itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mapping) enum Decimal {
    /// `-Infinity`
    Least,
    /// An ordinary number; 1 equals 1.00.
    Finite(BigDecimal),
    /// `Infinity`
    Greatest,
    /// `NaN`
    NaN,
}

/// Two-sided arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Math {
    Add,
    Sub,
    Mul,
    Div,
    Floor,
    Rem,
}

impl Decimal {
    /// Reads JSON's and TOML's numbers, and Postgres' names of those that JSON lacks.
    pub(in crate::mapping) fn parse(text: &str) -> Option<Self> {
        match text {
            "NaN" => return Some(Self::NaN),
            "Infinity" => return Some(Self::Greatest),
            "-Infinity" => return Some(Self::Least),
            _ => {}
        }
        // refuse words and separators that the crate takes and SQL does not
        let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
        if text.len() > MAX_TEXT || !text.bytes().all(numeric) {
            return None;
        }
        let number = BigDecimal::from_str(text).ok()?;
        bounded(number).map(Self::Finite)
    }
    /// A whole number.
    pub(in crate::mapping) fn from_integer(number: i64) -> Self {
        Self::Finite(BigDecimal::from(number))
    }
    /// Not zero.
    pub(in crate::mapping) fn is_true(&self) -> bool {
        !matches!(self, Self::Finite(number) if number.is_zero())
    }
    /// The other sign.
    pub(in crate::mapping) fn negated(&self) -> Self {
        match self {
            Self::Least => Self::Greatest,
            Self::Finite(number) => Self::Finite(-number),
            Self::Greatest => Self::Least,
            Self::NaN => Self::NaN,
        }
    }
    /// Without sign.
    pub(in crate::mapping) fn absolute(&self) -> Self {
        match self {
            Self::Least => Self::Greatest,
            Self::Finite(number) => Self::Finite(number.abs()),
            other => other.clone(),
        }
    }
    /// Cut towards zero.
    pub(in crate::mapping) fn truncated(&self) -> Self {
        match self {
            Self::Finite(number) => Self::Finite(number.with_scale(0)),
            other => other.clone(),
        }
    }
    /// Exact but for `/`, which keeps 100 digits. The text says what is wrong, without the values.
    pub(in crate::mapping) fn math(&self, op: Math, right: &Self) -> Result<Self, &'static str> {
        let (Self::Finite(a), Self::Finite(b)) = (self, right) else {
            return Err("arithmetic with NaN or Infinity");
        };
        if matches!(op, Math::Div | Math::Floor | Math::Rem) && b.is_zero() {
            return Err("division by zero");
        }
        let result = match op {
            Math::Add => a + b,
            Math::Sub => a - b,
            Math::Mul => a * b,
            Math::Div => a / b,
            Math::Rem => remainder(a, b),
            Math::Floor => ((a - remainder(a, b)) / b).with_scale(0),
        };
        bounded(result).map(Self::Finite).ok_or("a number became too long")
    }
    /// As people write it.
    pub(in crate::mapping) fn text(&self) -> String {
        match self {
            Self::Least => "-Infinity".into(),
            Self::Finite(number) => number.to_plain_string(),
            Self::Greatest => "Infinity".into(),
            Self::NaN => "NaN".into(),
        }
    }
}

/// Never negative, as minijinja's `%`.
fn remainder(a: &BigDecimal, b: &BigDecimal) -> BigDecimal {
    let rest = a % b;
    if rest < BigDecimal::zero() { rest + b.abs() } else { rest }
}

fn bounded(number: BigDecimal) -> Option<BigDecimal> {
    let (digits, scale) = number.as_bigint_and_scale();
    let fits = digits.bits() <= MAX_BITS && scale.abs() <= MAX_SCALE;
    drop(digits);
    fits.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn compares_as_postgres_does() {
        assert_eq!(n("1"), n("1.00"));
        assert_eq!(n("1e3"), n("1000.0"));
        assert_eq!(n("-0"), n("0"));
        let ascending =
            ["-Infinity", "-1e300", "-0.1", "0", "0.1", "12345678901234567890.0000000001", "Infinity", "NaN"];
        for pair in ascending.windows(2) {
            assert!(n(pair[0]) < n(pair[1]), "{pair:?}");
        }
        assert!(n("12345678901234567890.00000000001") < n("12345678901234567890.00000000002"));
        assert_eq!(n("NaN"), n("NaN"));
    }

    #[test]
    fn refuses_what_is_no_number_or_costs_too_much() {
        for bad in
            ["", "-", "x", "1_000", "inf", "0x10", "1e999999999", "1e-999999999", "1 ", "١", "--1", "1.2.3"]
        {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
        assert_eq!(Decimal::parse(&"9".repeat(MAX_TEXT + 1)), None);
        assert!(Decimal::parse(&"9".repeat(MAX_TEXT)).is_some());
    }

    #[test]
    fn calculates_exactly() {
        for (a, op, b, result) in [
            ("0.1", Math::Add, "0.2", "0.3"),
            ("1", Math::Add, "0", "1"),
            ("1", Math::Sub, "1.01", "-0.01"),
            ("12.50", Math::Mul, "4", "50"),
            ("1", Math::Div, "4", "0.25"),
            ("7", Math::Floor, "2", "3"),
            ("-7", Math::Floor, "2", "-4"),
            ("-7", Math::Rem, "2", "1"),
            ("-7", Math::Rem, "-2", "1"),
            ("6", Math::Rem, "2", "0"),
        ] {
            assert_eq!(n(a).math(op, &n(b)), Ok(n(result)), "{a} {op:?} {b}");
        }
        for (a, op, b) in
            [("1", Math::Div, "0"), ("1", Math::Rem, "0"), ("1", Math::Floor, "0.0"), ("NaN", Math::Add, "1")]
        {
            assert!(n(a).math(op, &n(b)).is_err(), "{a} {op:?} {b}");
        }
        let long = n(&"9".repeat(1_900));
        let longer = long.math(Math::Mul, &long).unwrap();
        assert!(longer.math(Math::Mul, &long).is_err());
        assert_eq!(
            (n("-1.5").truncated(), n("-1.5").absolute(), n("1").negated()),
            (n("-1"), n("1.5"), n("-1"))
        );
        assert_eq!(n("1e2").text(), "100");
        assert!(n("0.001").is_true() && !n("0.00").is_true());
    }
}
