//! Where the database is and who we are there: `database.url`, as libpq reads it. Pure. Never prints the password.
use crate::domain::Secret;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Debian's and libpq's own default.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// A parsed `database.url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How the server is reached.
    pub host: Host,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// Database; the role's name when the URL has none.
    pub database: String,
    /// For connecting and logging in together.
    pub connect_timeout: Duration,
    /// As `pg_stat_activity` and `pg_stat_replication` show it.
    pub application_name: String,
}

/// `127.0.0.1:5432`, `[::1]:5432` or the socket's path, for people.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(_) => write!(f, "{}", self.socket().display()),
        }
    }
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?key=value` or `key=value key='va lue'`. What we do not know
    /// or cannot do is an error that names it, and never the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = UrlParts::default();
        match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => parts.read_url(rest)?,
            None => parts.read_pairs(text)?,
        }
        parts.finish().map_err(|what| format!("database.url: {what}"))
    }

    /// The Unix socket's path.
    pub fn socket(&self) -> PathBuf {
        match &self.host {
            Host::Unix(folder) => folder.join(format!(".s.PGSQL.{}", self.port)),
            Host::Tcp(_) => PathBuf::new(),
        }
    }
}

#[derive(Default)]
struct UrlParts {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    connect_timeout: Option<String>,
    application_name: Option<String>,
    ssl_mode: Option<String>,
}

impl UrlParts {
    fn read_url(&mut self, rest: &str) -> Result<(), String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (login, place),
            None => ("", authority),
        };
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        let (host, port) = split_port(place)?;
        for (key, value) in [("user", user), ("host", host), ("port", port), ("dbname", database)] {
            if !value.is_empty() {
                self.set(key, decoded(value)?)?;
            }
        }
        if let Some(password) = password {
            self.set("password", decoded(password)?)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or("database.url: a parameter has no value")?;
            self.set(&decoded(key)?, decoded(value)?)?;
        }
        Ok(())
    }

    fn read_pairs(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else {
                return Err("database.url: expected postgres://user:password@host:port/database".into());
            };
            let (value, after) = take_value(after.trim_start())?;
            self.set(key.trim(), value)?;
            rest = after.trim_start();
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let place = match key {
            "host" => &mut self.host,
            "port" => &mut self.port,
            "user" => &mut self.user,
            "password" => &mut self.password,
            "dbname" => &mut self.database,
            "connect_timeout" => &mut self.connect_timeout,
            "application_name" => &mut self.application_name,
            "sslmode" => &mut self.ssl_mode,
            _ => {
                // a key that came out of a misread password must not be repeated
                let known = "host, port, user, password, dbname, sslmode, connect_timeout, application_name";
                return Err(format!("database.url: a parameter is not known (known are {known})"));
            }
        };
        if value.contains('\0') {
            return Err(format!("database.url: {key} holds a zero byte"));
        }
        *place = Some(value);
        Ok(())
    }

    fn finish(self) -> Result<Address, String> {
        match self.ssl_mode.as_deref() {
            None | Some("disable" | "allow" | "prefer") => {}
            Some(mode @ ("require" | "verify-ca" | "verify-full")) => {
                return Err(format!(
                    "sslmode={mode} is not supported yet: use a Unix socket, or sslmode=prefer on a network that you trust"
                ));
            }
            Some(_) => {
                let known = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(format!("sslmode must be {known}"));
            }
        }
        let user = self.user.filter(|user| !user.is_empty()).ok_or("it names no user")?;
        let host = self.host.filter(|host| !host.is_empty()).unwrap_or_else(|| SOCKET_DIRECTORY.into());
        if host.contains(',') {
            return Err("several hosts are not supported: name one".into());
        }
        let port = match self.port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("port must be 1 to 65535")?,
            None => DEFAULT_PORT,
        };
        let connect_timeout = match self.connect_timeout {
            Some(seconds) => {
                seconds.parse::<u16>().map_err(|_| "connect_timeout must be a number of seconds")?
            }
            None => 0,
        };
        Ok(Address {
            host: if host.starts_with('/') { Host::Unix(host.into()) } else { Host::Tcp(host) },
            port,
            database: self.database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone()),
            user,
            password: self.password.map(Secret::new),
            connect_timeout: match connect_timeout {
                0 => DEFAULT_CONNECT_TIMEOUT,
                seconds => Duration::from_secs(seconds.into()),
            },
            application_name: self.application_name.unwrap_or_else(|| "tailhook".into()),
        })
    }
}

/// `host:port`, `[::1]:port`, or only a host; without brackets.
fn split_port(place: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("database.url: the host's bracket is not closed")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if after.is_empty() => Ok((host, "")),
            None => Err("database.url: after the host's bracket comes a port".into()),
        };
    }
    Ok(place.rsplit_once(':').unwrap_or((place, "")))
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| "database.url: a part is no UTF-8".into())
}

/// A value of the `key=value` form: bare up to white space, or in single quotes; `\` escapes.
fn take_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            blank if blank.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted { Err("database.url: a quote is not closed".into()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> String {
        match Address::parse(text) {
            Ok(a) => {
                let password = a.password.as_ref().map_or("-", Secret::expose);
                format!(
                    "{a} {} {password} {} {} {}",
                    a.user,
                    a.database,
                    a.connect_timeout.as_secs(),
                    a.application_name
                )
            }
            Err(error) => error,
        }
    }

    #[test]
    fn every_form_that_libpq_reads() {
        for (text, expected) in [
            ("postgres://u:p@127.0.0.1:5433/erp?sslmode=prefer", "127.0.0.1:5433 u p erp 10 tailhook"),
            ("postgresql://u@db", "db:5432 u - u 10 tailhook"),
            ("postgres://u:p%40s%3As%2F@h/e%20rp", "h:5432 u p@s:s/ e rp 10 tailhook"),
            ("postgres://u:a@b@h/erp", "h:5432 u a@b erp 10 tailhook"),
            ("postgres://u@[::1]:6000/erp", "[::1]:6000 u - erp 10 tailhook"),
            ("postgres://u@%2Ftmp%2Fpg:5433/erp", "/tmp/pg/.s.PGSQL.5433 u - erp 10 tailhook"),
            ("postgres:///erp?host=/tmp/pg&user=u&port=1", "/tmp/pg/.s.PGSQL.1 u - erp 10 tailhook"),
            ("postgres://u@/erp", "/var/run/postgresql/.s.PGSQL.5432 u - erp 10 tailhook"),
            ("postgres://u@h/?connect_timeout=3&application_name=x%20y", "h:5432 u - u 3 x y"),
            (
                "host=/tmp/pg user=u password='a \\'b' dbname=erp sslmode=allow",
                "/tmp/pg/.s.PGSQL.5432 u a 'b erp 10 tailhook",
            ),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named_and_no_password_is_repeated() {
        for (text, part) in [
            ("", "names no user"),
            ("hunter2", "expected postgres://"),
            ("postgres://h/erp", "names no user"),
            ("postgres://u:hunter2@h:0/erp", "port must be"),
            ("postgres://u:hunter2@h:x/erp", "port must be"),
            ("postgres://u:hunter2@h,i/erp", "several hosts"),
            ("postgres://u:hunter2@h/erp?sslmode=maybe", "sslmode must be disable, allow"),
            ("postgres://u:hunter2@h/erp?hunter2=1", "a parameter is not known"),
            ("postgres://u:hunter2@h/erp?sslmode", "has no value"),
            ("postgres://u:hunter2@[::1/erp", "bracket"),
            ("postgres://u:hunter2%ff@h/erp", "no UTF-8"),
            ("postgres://u:hunter2%00@h/erp", "zero byte"),
            ("postgres://u:hunter2@h/erp?connect_timeout=soon", "number of seconds"),
            ("user=u password='hunter2", "quote is not closed"),
        ] {
            let error = short(text);
            assert!(error.contains(part) && !error.contains("hunter2"), "{text}: {error}");
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = short(&format!("postgres://u@h/erp?sslmode={mode}"));
            assert!(error.contains(&format!("sslmode={mode} is not supported yet")), "{error}");
        }
        let debug = format!("{:?}", Address::parse("postgres://u:hunter2@h/erp"));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
