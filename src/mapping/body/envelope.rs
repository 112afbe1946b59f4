//! Purpose: the envelope of every event, byte for byte (SPEC 4): of what comes from a change and of what is posted. Must not: depend on
//! where its data comes from.
use crate::domain::{EventId, TenantId};
use crate::mapping::rows::cell::push_string;

/// What every body has beside its data.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Event id.
    pub id: EventId,
    /// RFC 3339.
    pub timestamp: &'a str,
    /// Event name.
    pub event: &'a str,
    /// Whose.
    pub tenant: &'a TenantId,
    /// Resource type; `None`: null.
    pub kind: Option<&'a str>,
    /// Resource id; `None`: null.
    pub resource_id: Option<&'a str>,
    /// `metadata.source`
    pub source: &'a str,
    /// `metadata.version`
    pub version: &'a str,
}

impl Envelope<'_> {
    /// The body; `data` writes an object and names what it had to leave out.
    pub fn body<E>(
        &self,
        size: usize,
        data: impl FnOnce(&mut Vec<u8>) -> Result<Vec<String>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut out = Vec::with_capacity(size);
        out.extend_from_slice(b"{\"id\":\"");
        let mut hyphenated = uuid::Uuid::encode_buffer();
        out.extend_from_slice(self.id.0.hyphenated().encode_lower(&mut hyphenated).as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":\"");
        out.extend_from_slice(self.timestamp.as_bytes());
        out.extend_from_slice(b"\",\"event\":");
        push_string(&mut out, self.event);
        out.extend_from_slice(b",\"tenant_id\":");
        push_string(&mut out, self.tenant.as_str());
        out.extend_from_slice(b",\"resource_type\":");
        push_or_null(&mut out, self.kind);
        out.extend_from_slice(b",\"resource_id\":");
        push_or_null(&mut out, self.resource_id);
        out.extend_from_slice(b",\"data\":");
        let unchanged = data(&mut out)?;
        out.extend_from_slice(b",\"metadata\":{\"tenant_id\":");
        push_string(&mut out, self.tenant.as_str());
        out.extend_from_slice(b",\"source\":");
        push_string(&mut out, self.source);
        out.extend_from_slice(b",\"version\":");
        push_string(&mut out, self.version);
        out.push(b'}');
        for (at, column) in unchanged.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"unchanged\":[" } else { b"," });
            push_string(&mut out, column);
        }
        if !unchanged.is_empty() {
            out.push(b']');
        }
        out.push(b'}');
        Ok(out)
    }
}

fn push_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}
