//! Ordinary SQL: the only place that knows tokio-postgres. Knows no replication protocol.
pub mod catalog;
pub mod checks;
pub mod error;
mod harm;
pub mod headers;
pub mod migrate;
pub mod name;
pub mod publication;
pub mod session;
pub mod slot;
pub mod snapshot;
pub mod standing;
pub mod subscriptions;
pub mod url;
pub mod visibility;

pub use error::PgError;
pub use name::TableName;
pub use session::Session;
