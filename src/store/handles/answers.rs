//! Purpose: answers to requests with an Idempotency-Key, kept for a day. Must not: decide what a repeat is.
use crate::domain::{KeepingError, TenantId};
use crate::store::engine::core::Core;
use crate::store::records::record::{Batch, Idempotent, Record};
use std::sync::Arc;

/// The handle of idempotency keys; clones share one store.
#[derive(Debug, Clone)]
pub struct Answers {
    pub(in crate::store) core: Arc<Core>,
}

impl Answers {
    /// An answer remembered for an Idempotency-Key, if younger than 24 hours.
    pub async fn find(&self, tenant: &TenantId, key: &str) -> Result<Option<Idempotent>, KeepingError> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        Ok(self.core.offload(move |core| core.idempotent(&tenant, &key)).await??)
    }
    /// Remembers an answer whose effect is elsewhere.
    pub async fn keep(&self, answer: Idempotent) -> Result<(), KeepingError> {
        let records = vec![Record::Idempotent(Box::new(answer))];
        Ok(self.core.commit(Batch { records }, false).await?)
    }
}
