//! What the environment adds to the file: `${NAME}` inside strings, and the old module's three variables.
use super::problem::ProblemReport;
use super::{Config, Environment};
use percent_encoding::NON_ALPHANUMERIC;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Puts the environment's values in place of every `${NAME}`.
pub(super) fn interpolate(table: &mut DeTable<'_>, environment: Environment<'_>, report: &ProblemReport<'_>) {
    for (_, value) in table.iter_mut() {
        interpolate_value(value, environment, report);
    }
}

fn interpolate_value(
    value: &mut Spanned<DeValue<'_>>,
    environment: Environment<'_>,
    report: &ProblemReport<'_>,
) {
    let line = report.line_of(&value.span());
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => match replace(text, environment) {
            Ok(replaced) => *text = replaced.into(),
            Err(problem) => {
                report.unreadable(line, problem);
                *text = String::new().into();
            }
        },
        DeValue::Array(elements) => {
            for element in elements.iter_mut() {
                interpolate_value(element, environment, report);
            }
        }
        DeValue::Table(table) => interpolate(table, environment, report),
        _ => {}
    }
}

fn replace(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            return Err("`${` without a name and `}`; write ${NAME}".to_owned());
        };
        let Some(value) = environment(name) else {
            return Err(format!("the environment has no {name}; set it, or write the value here"));
        };
        if is_url {
            push_url_part(&mut out, &value);
        } else {
            out.push_str(&value);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A password as it is typed may hold what would end a URL's part: encodes just that, and leaves what is encoded already.
fn push_url_part(out: &mut String, value: &str) {
    for (at, char) in value.char_indices() {
        let encoded =
            value.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match char {
            '%' if encoded => out.push('%'),
            ':' | '/' | '?' | '#' | '[' | ']' | '@' | ' ' | '&' | '=' | '%' => {
                out.extend(percent_encoding::utf8_percent_encode(
                    char.encode_utf8(&mut [0; 4]),
                    NON_ALPHANUMERIC,
                ));
            }
            plain => out.push(plain),
        }
    }
}

/// The variables of the module that this one replaces go before the file.
pub(super) fn overrides(config: &mut Config, environment: Environment<'_>, report: &ProblemReport<'_>) {
    let number = |name: &str, limit: u64| {
        let text = environment(name)?;
        let number = text.trim().parse().ok().filter(|number| *number <= limit);
        if number.is_none() {
            report.add(
                0,
                format!("{name} in the environment is no whole number up to {limit}; correct or unset it"),
            );
        }
        number
    };
    match number("WEBHOOK_TIMEOUT_SECONDS", 3600) {
        Some(0) => {
            report.add(0, "WEBHOOK_TIMEOUT_SECONDS in the environment is 0; set at least 1, or unset it");
        }
        Some(seconds) => config.dispatch.timeout = Duration::from_secs(seconds),
        None => {}
    }
    if let Some(retries) = number("WEBHOOK_MAX_RETRIES", 1000) {
        config.dispatch.max_retries = retries as u32;
    }
    if let Some(agent) = environment("WEBHOOK_USER_AGENT") {
        if super::delivery::is_header_value(&agent) {
            config.egress.user_agent = agent;
        } else {
            report.add(0, "WEBHOOK_USER_AGENT in the environment cannot be a header; correct or unset it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_values() {
        let environment = |name: &str| match name {
            "PASSWORD" => Some("p@ss/w%rd%41".to_owned()),
            "URL" => Some("postgres://a:b@c/d".to_owned()),
            _ => None,
        };
        for (text, replaced) in [
            ("plain", Ok("plain")),
            ("${PASSWORD}", Ok("p@ss/w%rd%41")),
            ("a ${PASSWORD} b ${URL}", Ok("a p@ss/w%rd%41 b postgres://a:b@c/d")),
            ("postgres://u:${PASSWORD}@h/d", Ok("postgres://u:p%40ss%2Fw%25rd%41@h/d")),
            ("${URL}", Ok("postgres://a:b@c/d")),
            ("${MISSING}", Err("the environment has no MISSING; set it, or write the value here")),
            ("${", Err("`${` without a name and `}`; write ${NAME}")),
            ("${a b}", Err("`${` without a name and `}`; write ${NAME}")),
        ] {
            assert_eq!(
                replace(text, &environment),
                replaced.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
    }
}
