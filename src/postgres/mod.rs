//! Ordinary SQL: the only place that knows tokio-postgres. Knows no replication protocol.
