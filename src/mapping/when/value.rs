//! Values inside a `when` expression: equality, order, truth, filters. Knows no nodes and no rows.
use crate::domain::json;
use crate::mapping::rows::cell;
use crate::mapping::when::decimal::Decimal;
use crate::mapping::when::expression::ExpressionFilter;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mapping) enum Stop {
    /// It hangs on a value that nobody knows: `old.status`.
    Unknown(String),
    /// It cannot be judged: one line, without values.
    Failed(String),
}

/// A value. `Undefined`: a key that is not there. `Row`: a whole row, only good for `is none`.
#[derive(Debug, Clone)]
pub(in crate::mapping) enum Value<'a> {
    Undefined,
    None,
    Bool(bool),
    Number(Cow<'a, Decimal>),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Json(Json),
    Row,
}

impl Value<'_> {
    /// Jinja's truth: none, false, zero and empty are not.
    pub(in crate::mapping) fn is_true(&self) -> Result<bool, Stop> {
        Ok(match self {
            Self::Undefined => return Err(undefined()),
            Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Number(number) => number.is_true(),
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Json(Json::Array(items)) => !items.is_empty(),
            Self::Json(Json::Object(map)) => !map.is_empty(),
            Self::Json(_) | Self::Row => true,
        })
    }
    /// For error texts.
    pub(in crate::mapping) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "nothing",
            Self::None => "none",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) | Self::Json(Json::Array(_)) => "a list",
            Self::Json(_) => "an object",
            Self::Row => "a row",
        }
    }
    /// As `~` and the text filters see it.
    pub(in crate::mapping) fn text(&self) -> Result<Cow<'_, str>, Stop> {
        Ok(match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.text()),
            Self::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::None => Cow::Borrowed(""),
            other => return Err(failed(&format!("{} has no text", other.kind()))),
        })
    }
}

pub(in crate::mapping) fn failed(text: &str) -> Stop {
    Stop::Failed(text.to_owned())
}

pub(in crate::mapping) fn undefined() -> Stop {
    failed("a key is not there (test it with 'is defined' or give a default)")
}

pub(in crate::mapping) fn from_cell(json: &[u8], numeric: bool) -> Option<Value<'_>> {
    Some(match json.first()? {
        _ if numeric => Value::Number(Cow::Owned(cell::number(json)?)),
        b'"' => Value::Text(cell::text(json)?),
        _ => from_json(json::parse(json).ok()?),
    })
}

pub(in crate::mapping) fn from_json<'a>(json: Json) -> Value<'a> {
    match json {
        Json::Null => Value::None,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match Decimal::parse(number.as_str()) {
            Some(decimal) => Value::Number(Cow::Owned(decimal)),
            None => Value::Text(Cow::Owned(number.to_string())),
        },
        Json::String(text) => Value::Text(Cow::Owned(text)),
        other => Value::Json(other),
    }
}

pub(in crate::mapping) fn item<'a>(of: Value<'a>, index: &Value<'a>) -> Result<Value<'a>, Stop> {
    let at = |length: usize| match index {
        Value::Number(number) => {
            let number: i64 = number.text().parse().ok()?;
            let at = if number < 0 { number + length as i64 } else { number };
            usize::try_from(at).ok()
        }
        _ => None,
    };
    match (of, index) {
        (Value::Undefined, _) => Err(undefined()),
        (Value::None, _) => Ok(Value::None),
        (Value::Json(Json::Object(mut map)), Value::Text(key)) => {
            Ok(map.remove(key.as_ref()).map_or(Value::Undefined, from_json))
        }
        (Value::Json(Json::Array(mut items)), _) => Ok(match at(items.len()) {
            Some(at) if at < items.len() => from_json(items.swap_remove(at)),
            _ => Value::Undefined,
        }),
        (Value::List(mut items), _) => Ok(match at(items.len()) {
            Some(at) if at < items.len() => items.swap_remove(at),
            _ => Value::Undefined,
        }),
        (of, _) => Err(failed(&format!("{} has no keys", of.kind()))),
    }
}

pub(in crate::mapping) fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Json(a), Value::Json(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::List(a), Value::Json(Json::Array(b))) | (Value::Json(Json::Array(b)), Value::List(a)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, &from_json(b.clone())))
        }
        _ => false,
    }
}

/// `None`: NULL is neither less nor greater.
pub(in crate::mapping) fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Option<Ordering>, Stop> {
    match (left, right) {
        (Value::None, _) | (_, Value::None) => Ok(None),
        (Value::Number(a), Value::Number(b)) => Ok(Some(a.cmp(b))),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (a, b) => Err(failed(&format!("{} cannot be compared with {}", a.kind(), b.kind()))),
    }
}

/// `value | filter`. NULL passes through.
pub(in crate::mapping) fn filtered<'a>(
    filter: ExpressionFilter,
    value: Value<'a>,
    arg: Option<Value<'a>>,
) -> Result<Value<'a>, Stop> {
    if filter == ExpressionFilter::Default {
        let missing = matches!(value, Value::Undefined | Value::None);
        return Ok(if missing { arg.unwrap_or(Value::None) } else { value });
    }
    match value {
        Value::Undefined => return Err(undefined()),
        Value::None => return Ok(Value::None),
        _ => {}
    }
    let number = |value: &Value<'_>| match value {
        Value::Number(number) => Some(number.as_ref().clone()),
        Value::Text(text) => Decimal::parse(text.trim()),
        Value::Bool(truth) => Some(Decimal::from_integer(i64::from(*truth))),
        _ => None,
    };
    let wrong = || failed(&format!("a filter does not take {}", value.kind()));
    Ok(match filter {
        ExpressionFilter::Lower => Value::Text(Cow::Owned(value.text()?.to_lowercase())),
        ExpressionFilter::Upper => Value::Text(Cow::Owned(value.text()?.to_uppercase())),
        ExpressionFilter::Trim => Value::Text(Cow::Owned(value.text()?.trim().to_owned())),
        ExpressionFilter::Text => Value::Text(Cow::Owned(value.text()?.into_owned())),
        ExpressionFilter::Length => {
            let length = match &value {
                Value::Text(text) => text.chars().count(),
                Value::List(items) => items.len(),
                Value::Json(Json::Array(items)) => items.len(),
                Value::Json(Json::Object(map)) => map.len(),
                _ => return Err(wrong()),
            };
            Value::Number(Cow::Owned(Decimal::from_integer(length as i64)))
        }
        ExpressionFilter::Abs => Value::Number(Cow::Owned(number(&value).ok_or_else(wrong)?.absolute())),
        ExpressionFilter::Int => Value::Number(Cow::Owned(number(&value).ok_or_else(wrong)?.truncated())),
        ExpressionFilter::Float | ExpressionFilter::Default => {
            Value::Number(Cow::Owned(number(&value).ok_or_else(wrong)?))
        }
    })
}
