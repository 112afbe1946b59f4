//! Purpose: one struct of settings a stage, each with its one `Default`, which is SPEC 3's. `config` reads straight into them, and the
//! simulation, the tests and the benches run on them.
//! Must not: read a file, or depend on a stage.
mod admin;
mod dispatch;
mod egress;
mod envelope;
mod store;

pub use admin::{AdminSettings, AdminToken, Scope};
pub use dispatch::{BackoffSettings, BreakerSettings, DispatchSettings, PerEndpoint};
pub use egress::EgressSettings;
pub use envelope::EnvelopeSettings;
pub use store::StoreSettings;
