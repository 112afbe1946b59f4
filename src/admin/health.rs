//! Whether the sidecar is fit: what `/readyz` answers from. Set by `app`; knows no probe.
use crate::store::Vitals;
use std::sync::Arc;
use tokio::sync::watch;

/// What the loops say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HealthState {
    streaming: bool,
    gap: Option<String>,
    degraded: Vec<String>,
    table_gaps: serde_json::Value,
    stopping: bool,
}

/// A handle; clones share one state.
#[derive(Debug, Clone)]
pub struct Health(Arc<watch::Sender<HealthState>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(HealthState::default())))
    }
}

impl Health {
    /// Capture receives (true), or has no connection (false).
    pub fn set_streaming(&self, streaming: bool) {
        self.0.send_modify(|state| state.streaming = streaming);
    }
    /// A gap was found (SPEC 5.7), in one line; `None`: it was accepted.
    pub fn set_gap(&self, gap: Option<String>) {
        self.0.send_modify(|state| state.gap = gap);
    }
    /// What does not work while all else does, a line each; and the same for `/status`.
    pub fn set_degraded(&self, degraded: Vec<String>, table_gaps: serde_json::Value) {
        self.0.send_modify(|state| (state.degraded, state.table_gaps) = (degraded, table_gaps));
    }
    /// What does not work while all else does.
    pub fn degraded(&self) -> Vec<String> {
        self.0.borrow().degraded.clone()
    }
    /// Tables whose changes have no events.
    pub fn table_gaps(&self) -> serde_json::Value {
        self.0.borrow().table_gaps.clone()
    }
    /// Shutdown has begun: no more traffic, please.
    pub fn set_stopping(&self) {
        self.0.send_modify(|state| state.stopping = true);
    }
    /// Is capture streaming?
    pub fn is_streaming(&self) -> bool {
        self.0.borrow().streaming
    }
    /// The gap, if there is one.
    pub fn gap(&self) -> Option<String> {
        self.0.borrow().gap.clone()
    }
    /// Why we are not ready; empty: we are.
    pub fn reasons(&self, vitals: Vitals) -> Vec<String> {
        let state = self.0.borrow().clone();
        let mut reasons = Vec::new();
        if state.stopping {
            reasons.push("stopping".to_string());
        }
        if let Some(gap) = state.gap {
            reasons.push(format!("gap: {gap}"));
        } else if !state.streaming {
            reasons.push("not streaming".to_string());
        }
        if !vitals.writable {
            reasons.push("the data folder cannot be written".to_string());
        }
        if vitals.rebuilding {
            reasons.push("the index is being rebuilt: nothing is sent yet".to_string());
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_streaming_without_a_gap_on_a_writable_store() {
        let health = Health::default();
        let vitals = Vitals { writable: true, ..Vitals::default() };
        assert_eq!(health.reasons(vitals), ["not streaming"]);
        health.set_streaming(true);
        assert!(health.reasons(vitals).is_empty());
        assert_eq!(health.reasons(Vitals::default()), ["the data folder cannot be written"]);
        let rebuilding = Vitals { rebuilding: true, ..vitals };
        assert_eq!(health.reasons(rebuilding), ["the index is being rebuilt: nothing is sent yet"]);
        assert!(health.is_streaming() && health.gap().is_none());
        health.set_gap(Some("0/1 to 0/2".into()));
        assert_eq!(health.gap().as_deref(), Some("0/1 to 0/2"));
        assert_eq!(health.reasons(vitals), ["gap: 0/1 to 0/2"]);
        health.set_gap(None);
        health.set_streaming(false);
        assert!(!health.is_streaming());
        health.set_streaming(true);
        health.set_stopping();
        assert_eq!(health.reasons(vitals), ["stopping"]);
    }
}
