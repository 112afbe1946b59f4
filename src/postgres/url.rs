//! Purpose: the one grammar of `database.url` and `database.api_url`: libpq's, as far as we can do what it asks. Must not: connect, or
//! repeat a password in an error.
use super::PgError;
use crate::domain::Secret;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host as ConfigHost, SslMode};

/// Debian's and libpq's own default.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// It asks for what is not built: TLS.
    #[error("{0}")]
    NotYet(String),
    /// It is wrong, or unclear.
    #[error("{0}")]
    Wrong(String),
}

impl From<UrlProblem> for PgError {
    fn from(problem: UrlProblem) -> Self {
        match problem {
            UrlProblem::NotYet(what) => Self::NotYet(what),
            UrlProblem::Wrong(what) => Self::Setup(format!("database.url: {what}")),
        }
    }
}

fn wrong(what: impl Into<String>) -> UrlProblem {
    UrlProblem::Wrong(what.into())
}

/// A URL that was read. Ordinary SQL can use whatever the client crate can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: Config,
}

impl DatabaseUrl {
    /// Reads `postgres://user:password@host:port/database?key=value` or `key=value key='va lue'`. What nobody knows or can do is an
    /// error that names it. No TLS yet: what asks for it is refused, never downgraded.
    pub fn parse(text: &str) -> Result<Self, UrlProblem> {
        let (rest, mode) = take_sslmode(text);
        match mode.as_deref() {
            None | Some("disable" | "allow" | "prefer") => {}
            Some(mode @ ("require" | "verify-ca" | "verify-full")) => return Err(no_tls(mode)),
            Some(_) => {
                let known = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(wrong(format!("sslmode is not known: sslmode must be {known}")));
            }
        }
        let mut config: Config = rest.parse().map_err(|error| wrong(reworded(&error)))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(no_tls("require"));
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(SOCKET_DIRECTORY);
        }
        let texts = [config.get_user(), config.get_dbname(), config.get_application_name()];
        let password = config.get_password().unwrap_or_default();
        if texts.iter().flatten().any(|text| text.contains('\0')) || password.contains(&0) {
            return Err(wrong("a part holds a zero byte"));
        }
        Ok(Self { config })
    }

    /// For the client crate.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The role, if the URL names one.
    pub fn user(&self) -> Option<&str> {
        self.config.get_user().filter(|user| !user.is_empty())
    }

    /// The same for a replication connection, which is our own client's: one host, a role, and no parameter that would be ignored.
    pub fn address(&self) -> Result<Address, UrlProblem> {
        let config = &self.config;
        let user = self.user().ok_or_else(|| wrong("it names no user"))?.to_owned();
        let [host] = config.get_hosts() else {
            return Err(wrong("several hosts are not supported: name one"));
        };
        let port = match config.get_ports() {
            [] => DEFAULT_PORT,
            [port] if *port > 0 => *port,
            [_] => return Err(wrong("port must be 1 to 65535")),
            _ => return Err(wrong("the port is named twice")),
        };
        let password = config.get_password().map(|password| String::from_utf8(password.to_vec()));
        let password = password.transpose().map_err(|_| wrong("a part is no UTF-8"))?;
        if !self.is_plain() {
            return Err(wrong(UNKNOWN));
        }
        Ok(Address {
            host: match host {
                ConfigHost::Tcp(name) => Host::Tcp(name.clone()),
                ConfigHost::Unix(folder) => Host::Unix(folder.clone()),
            },
            port,
            database: config.get_dbname().map_or_else(|| user.clone(), str::to_owned),
            user,
            password: password.map(Secret::new),
            connect_timeout: config.get_connect_timeout().copied().unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            application_name: config.get_application_name().unwrap_or("tailhook").to_owned(),
        })
    }

    /// Does it say nothing but what an `Address` has?
    fn is_plain(&self) -> bool {
        let config = &self.config;
        let mut plain = Config::new();
        plain.ssl_mode(SslMode::Disable);
        for host in config.get_hosts() {
            match host {
                ConfigHost::Tcp(name) => plain.host(name),
                ConfigHost::Unix(folder) => plain.host_path(folder),
            };
        }
        config.get_ports().iter().for_each(|port| _ = plain.port(*port));
        config.get_user().map(|user| plain.user(user));
        config.get_password().map(|password| plain.password(password));
        config.get_dbname().map(|name| plain.dbname(name));
        config.get_connect_timeout().map(|timeout| plain.connect_timeout(*timeout));
        config.get_application_name().map(|name| plain.application_name(name));
        plain == *config
    }
}

/// How the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// Where the database is and who we are there.
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
    /// `DatabaseUrl::parse` and `DatabaseUrl::address`.
    pub fn parse(text: &str) -> Result<Self, UrlProblem> {
        DatabaseUrl::parse(text)?.address()
    }

    /// The Unix socket's path.
    pub fn socket(&self) -> PathBuf {
        match &self.host {
            Host::Unix(folder) => folder.join(format!(".s.PGSQL.{}", self.port)),
            Host::Tcp(_) => PathBuf::new(),
        }
    }
}

/// Is it the form that the file takes, whatever it says?
pub fn has_scheme(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

fn no_tls(mode: &str) -> UrlProblem {
    UrlProblem::NotYet(format!(
        "sslmode={mode} is not supported yet: use a Unix socket, or sslmode=prefer on a network that you trust"
    ))
}

/// A key that came out of a misread password must not be repeated.
const UNKNOWN: &str = "a parameter is not known (known are host, port, user, password, dbname, sslmode, connect_timeout, \
                       application_name)";

/// The client crate's words may hold a piece of the password, and do not say what is expected.
fn reworded(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let says = |part: &str| cause.contains(part);
    let words = match () {
        () if says("unknown option") => UNKNOWN,
        () if says("`port`") => "port must be 1 to 65535",
        () if says("`connect_timeout`") => "connect_timeout must be a number of seconds",
        () if says("`host`") => "the host's bracket is not closed, or what follows it is no port",
        () if says("invalid value for option") => "a parameter has a value that is not known",
        () if says("unterminated parameter") => "a parameter has no value",
        () if says("unterminated quoted") => "a quote is not closed",
        () if says("utf-8") => "a part is no UTF-8",
        () => "expected postgres://user:password@host:port/database",
    };
    words.to_owned()
}

/// Takes `sslmode` out of either form: the client crate knows not all of its words. An `@` that is written as it is, in a password
/// or behind the host, is encoded: the crate takes the first one for the host's.
fn take_sslmode(text: &str) -> (String, Option<String>) {
    let mut mode = None;
    let mut keep = |pair: &&str| match pair.strip_prefix("sslmode=") {
        Some(value) => {
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            mode = Some(value.trim_matches('\'').to_owned());
            false
        }
        None => true,
    };
    let Some(scheme) = SCHEMES.iter().find(|scheme| text.starts_with(**scheme)) else {
        let kept: Vec<&str> = pairs(text).filter(&mut keep).collect();
        return (kept.join(" "), mode);
    };
    let rest = text.get(scheme.len()..).unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).filter(&mut keep).collect();
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let encoded = |text: &str| text.replace('@', "%40");
    let authority = match authority.rsplit_once('@') {
        Some((login, place)) => format!("{}@{place}", encoded(login)),
        None => authority.to_owned(),
    };
    (format!("{scheme}{authority}/{}?{}", encoded(database), encoded(&kept.join("&"))), mode)
}

/// `key=value` pairs as they are written: what is quoted or escaped does not end one.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let ends = move |c: char| {
        let plain = !std::mem::take(&mut escaped);
        escaped = plain && c == '\\';
        quoted ^= plain && c == '\'';
        c.is_whitespace() && plain && !quoted
    };
    text.split(ends).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests;
