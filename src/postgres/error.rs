//! What Postgres refuses, as one clear line with the remedy. Knows SQLSTATEs, no statement.
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Why ordinary SQL did not work.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PgError {
    /// The server cannot be reached, or went away: try again.
    #[error("{0}")]
    Unreachable(String),
    /// The login is refused: wrong password, no such role or database, `pg_hba`. An operator, or a slow retry.
    #[error("{0}")]
    Login(String),
    /// A right is missing: an operator, with the GRANT.
    #[error("{0}")]
    Privilege(String),
    /// Something must be made or changed in the database first: an operator, with the SQL.
    #[error("{0}")]
    Setup(String),
    /// A setting of the contract that does nothing yet.
    #[error("{0}")]
    NotYet(String),
    /// A lock or statement timeout, a deadlock: try again.
    #[error("{0}")]
    Busy(String),
    /// Anything else the server said.
    #[error("{0}")]
    Statement(String),
}

impl PgError {
    /// The connection, or the moment, was bad; the same statement may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Login(_) | Self::Busy(_))
    }
    /// Did the server close the connection, or never open it?
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<Error> for PgError {
    fn from(error: Error) -> Self {
        let Some(said) = error.as_db_error() else {
            if let Some(why) = tls_or_password(&error) {
                return Self::Login(why);
            }
            return Self::Unreachable(format!("the database cannot be reached: {}", chain(&error)));
        };
        let message = said.message();
        let code = said.code();
        let hint = said.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        if *code == SqlState::INVALID_PASSWORD {
            Self::Login(format!("postgres refuses the login: {message}; check the password in database.url"))
        } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
            Self::Login(format!(
                "postgres refuses the login: {message}; check user, pg_hba.conf and database.url"
            ))
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            Self::Login(format!(
                "postgres refuses the login: {message}; check the database's name in database.url"
            ))
        } else if *code == SqlState::TOO_MANY_CONNECTIONS
            || code.code().starts_with("57P0")
            || code.code().starts_with("08")
        {
            Self::Unreachable(format!("the database does not serve us now: {message}"))
        } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
            Self::Privilege(format!("a right is missing: {message}{hint}"))
        } else if *code == SqlState::UNDEFINED_TABLE
            || *code == SqlState::INVALID_SCHEMA_NAME
            || *code == SqlState::UNDEFINED_COLUMN
        {
            Self::Setup(format!("{message}; has `tailhook migrate` been run?"))
        } else if [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ]
        .contains(code)
        {
            Self::Busy(format!("the database is busy: {message}"))
        } else {
            Self::Statement(format!("postgres says: {message} (SQLSTATE {}){hint}", code.code()))
        }
    }
}

/// The client's own refusals come without a SQLSTATE.
fn tls_or_password(error: &Error) -> Option<String> {
    let text = chain(error);
    if text.contains("password missing") {
        return Some("postgres wants a password: put it into database.url, or set PGPASSWORD".into());
    }
    let unsupported = text.contains("authentication method") || text.contains("channel binding");
    unsupported.then(|| format!("the login does not work: {text}"))
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests;
