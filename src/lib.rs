//! Tailhook: from a commit in Postgres to a signed webhook. The folder list is the data's way:
//! `capture` → `mapping` → `store` → `dispatch` → `egress`; `registry` says who wants what, `admin` looks in,
//! `app` is the one place where they meet. See `ARCHITECTURE.md`.
pub mod access;
pub mod admin;
pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod dispatch;
pub mod domain;
pub mod egress;
pub mod fault;
#[doc(hidden)]
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod mapping;
pub mod postgres;
pub mod registry;
pub mod settings;
pub mod stop;
pub mod store;
pub mod telemetry;
