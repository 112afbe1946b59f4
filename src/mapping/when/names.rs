//! Names of filters, tests and comparisons in a `when`: minijinja's. Must not: know what they do; `value` and `evaluate` do.
use crate::mapping::when::expression::{Comparison, ExpressionFilter, Test};
use crate::mapping::when::hint;

/// A comparison written as a test: `new.x is ge(1)`.
pub(in crate::mapping) fn comparison_named(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" | "equalto" => Comparison::Eq,
        "ne" => Comparison::Ne,
        "lt" | "lessthan" => Comparison::Lt,
        "le" => Comparison::Le,
        "gt" | "greaterthan" => Comparison::Gt,
        "ge" => Comparison::Ge,
        "in" => Comparison::In,
        _ => return None,
    })
}

/// A filter and the number of its arguments.
pub(in crate::mapping) fn filter_named(name: &str) -> Result<(ExpressionFilter, usize), String> {
    Ok(match name {
        "lower" => (ExpressionFilter::Lower, 0),
        "upper" => (ExpressionFilter::Upper, 0),
        "trim" => (ExpressionFilter::Trim, 0),
        "length" | "count" => (ExpressionFilter::Length, 0),
        "abs" => (ExpressionFilter::Abs, 0),
        "int" => (ExpressionFilter::Int, 0),
        "float" => (ExpressionFilter::Float, 0),
        "string" => (ExpressionFilter::Text, 0),
        "default" | "d" => (ExpressionFilter::Default, 1),
        other => {
            return Err(format!(
                "filter '{other}' is not known; there are lower, upper, trim, length, abs, int, float, string and default"
            ));
        }
    })
}

/// A test and the number of its arguments.
pub(in crate::mapping) fn test_named(name: &str) -> Result<(Test, usize), String> {
    Ok(match name {
        "none" => (Test::None, 0),
        "defined" => (Test::Defined, 0),
        "undefined" => (Test::Undefined, 0),
        "number" => (Test::Number, 0),
        "string" => (Test::Text, 0),
        "boolean" => (Test::Boolean, 0),
        "true" => (Test::True, 0),
        "false" => (Test::False, 0),
        "startingwith" => (Test::StartingWith, 1),
        "endingwith" => (Test::EndingWith, 1),
        "containing" => (Test::Containing, 1),
        other => {
            let known = "there are none, defined, undefined, number, string, boolean, true, false, startingwith, endingwith, containing and comparisons";
            let known = hint::word(other).unwrap_or_else(|| known.to_owned());
            return Err(format!("test '{other}' is not known; {known}"));
        }
    })
}
