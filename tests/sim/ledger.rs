//! What a store says at the end: every delivery with its event. Must not: judge it.
use crate::world::World;
use std::sync::Arc;
use tailhook::domain::{Delivery, Event, TenantId};
use tailhook::store::{Filter, FoundDelivery, Store};

/// Every delivery with its event.
pub(crate) type Ledger = Vec<(Delivery, Arc<Event>)>;

/// Of every tenant.
pub(crate) async fn of(world: &World, tenants: &[String], store: &Store) -> Ledger {
    let mut ledger = Ledger::new();
    for tenant in tenants {
        let tenant = TenantId::new(tenant);
        let mut filter = Filter { limit: 100, ..Filter::default() };
        loop {
            let (page, next) = match store.history().list_found(&tenant, &filter).await {
                Ok(page) => page,
                Err(error) => {
                    world.violated(format!("a list fails: {error}"));
                    break;
                }
            };
            for FoundDelivery { delivery, event } in page {
                match event {
                    Some(event) => ledger.push((delivery, event)),
                    None => world.violated(format!("{} has no event", delivery.key.id)),
                }
            }
            filter.after = next;
            if next.is_none() {
                break;
            }
        }
    }
    ledger
}
