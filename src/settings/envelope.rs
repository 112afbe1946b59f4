//! What stands in every event, and how large it may be.

/// `delivery.source`, `delivery.max_payload` and `[operations]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSettings {
    /// `delivery.source`: `metadata.source` of every event.
    pub source: String,
    /// `delivery.max_payload`: the largest body, in bytes.
    pub max_payload: usize,
    /// `operations.tenant`: where system-wide events go.
    pub operations: String,
}

impl Default for EnvelopeSettings {
    fn default() -> Self {
        Self { source: "gestiqcloud".to_owned(), max_payload: 256 << 10, operations: "operations".to_owned() }
    }
}
