//! Purpose: deliveries past and present, a tenant's own, and what people do to them. Must not: wait for a rebuild longer than a client
//! would.
use crate::domain::{Delivery, DeliveryId, DeliveryKey, Routed, Routing, TenantId};
use crate::store::engine::core::Core;
use crate::store::engine::reading::{Filter, FoundDelivery, Page};
use crate::store::error::StoreError;
use crate::store::records::record::{Batch, Idempotent, Record};
use std::sync::Arc;
use tokio::sync::watch;

/// The API's handle; clones share one store.
#[derive(Debug, Clone)]
pub struct History {
    pub(in crate::store) core: Arc<Core>,
}

impl History {
    /// Who wants what, from batch to batch.
    pub fn routing(&self) -> watch::Receiver<Arc<Routing>> {
        self.core.routing.subscribe()
    }
    /// One delivery.
    pub async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        let key = key.clone();
        self.core.ask_soon(move |core| Ok(core.entry(&key)?.map(|entry| entry.delivery))).await
    }
    /// One delivery and its event. The event is `None` when its place is gone with the end of its history.
    pub async fn found(&self, key: &DeliveryKey) -> Result<Option<FoundDelivery>, StoreError> {
        let key = key.clone();
        match self.core.ask_soon(move |core| core.entry(&key)).await? {
            Some(entry) => self.core.found(entry).await.map(Some),
            None => Ok(None),
        }
    }
    /// A tenant's deliveries, newest first.
    pub async fn list(&self, tenant: &TenantId, filter: &Filter) -> Result<Page, StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.core
            .ask_soon(move |core| {
                let mut deliveries = Vec::new();
                let next = core.list(&tenant, &filter, &mut |entry| {
                    deliveries.push(entry.delivery);
                    Ok(())
                })?;
                Ok(Page { deliveries, next })
            })
            .await
    }
    /// The same with their events.
    pub async fn list_found(
        &self,
        tenant: &TenantId,
        filter: &Filter,
    ) -> Result<(Vec<FoundDelivery>, Option<DeliveryId>), StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        let listed = self.core.ask_soon(move |core| {
            let mut entries = Vec::new();
            let next = core.list(&tenant, &filter, &mut |entry| {
                entries.push(entry);
                Ok(())
            })?;
            Ok((entries, next))
        });
        let (entries, next) = listed.await?;
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            all.push(self.core.found(entry).await?);
        }
        Ok((all, next))
    }
    /// An event that somebody posted, and the answer to be remembered for it: both or none.
    pub async fn post(&self, routed: Routed, answer: Option<Idempotent>) -> Result<(), StoreError> {
        self.keep(Record::routed(routed).collect(), answer).await
    }
    /// Pending again, attempts 0; ignored unless failed or abandoned. With the answer to be remembered: both or none.
    pub async fn retry(
        &self,
        key: DeliveryKey,
        at_ms: i64,
        answer: Option<Idempotent>,
    ) -> Result<(), StoreError> {
        self.keep(vec![Record::Retried { key, at_ms }], answer).await
    }

    async fn keep(&self, mut records: Vec<Record>, answer: Option<Idempotent>) -> Result<(), StoreError> {
        records.extend(answer.map(|answer| Record::Idempotent(Box::new(answer))));
        self.core.commit(Batch { records }, false).await
    }
}
