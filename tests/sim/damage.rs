//! A bit flips in a copy of the data folder: it is noticed, or nothing is different. Never another body, another delivery or
//! a position that nobody speaks of. The copy has no part in the history.
use crate::disk::Platter;
use crate::plan::Kind;
use crate::wiring;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailhook::domain::{DeliveryId, Event, KeepingError, Status, TenantId};
use tailhook::store::index::memory::MemoryIndex;
use tailhook::store::{Filter, Store};

/// What somebody reads in a store: every delivery with its status and event. `None`: the event cannot be read, and that is said.
#[derive(Debug, PartialEq)]
struct Seen {
    position: u64,
    cut: u64,
    deliveries: BTreeMap<DeliveryId, (Status, Option<Arc<Event>>)>,
}

/// Now and then.
pub(crate) async fn flip(
    world: &Arc<World>,
    platter: &Arc<Platter>,
    index: &MemoryIndex,
    tenants: &[String],
) {
    if !world.strikes(Kind::Rot, &world.rng, 50) {
        return;
    }
    let (sound, rotten) = (platter.copy(), platter.copy());
    let Some(place) = rotten.flip(&world.rng) else { return };
    let Ok(sound) = look(world, &sound, index, tenants).await else { return };
    let Ok(rotten) = look(world, &rotten, index, tenants).await else { return };
    let same = |id: &DeliveryId, seen: &(Status, Option<Arc<Event>>)| {
        sound.deliveries.get(id).is_some_and(|(status, event)| {
            seen.1.as_ref().is_none_or(|read| Some(read) == event.as_ref())
                && (rotten.cut > sound.cut || *status == seen.0)
        })
    };
    let told = rotten.cut > sound.cut
        || (rotten.position == sound.position && rotten.deliveries.len() == sound.deliveries.len());
    if !told || !rotten.deliveries.iter().all(|(id, seen)| same(id, seen)) {
        world.violated(format!("a bit flipped in {place}, and the store says something else without a word"));
    }
}

async fn look(
    world: &Arc<World>,
    platter: &Arc<Platter>,
    index: &MemoryIndex,
    tenants: &[String],
) -> Result<Seen, KeepingError> {
    let disk = Arc::new(platter.mount());
    let (store, recovery) =
        Store::open(wiring::store_settings(), disk, index.fork().factory(), world.clone()).await?;
    store.finish_rebuild().await?;
    let mut deliveries = BTreeMap::new();
    for tenant in tenants {
        read(&store, &TenantId::new(tenant), &mut deliveries).await?;
    }
    Ok(Seen {
        position: store.checkpoint().position().map_or(0, |at| at.0),
        cut: recovery.torn_bytes,
        deliveries,
    })
}

async fn read(
    store: &Store,
    tenant: &TenantId,
    into: &mut BTreeMap<DeliveryId, (Status, Option<Arc<Event>>)>,
) -> Result<(), KeepingError> {
    let mut filter = Filter { limit: 100, ..Filter::default() };
    loop {
        let page = store.history().list(tenant, &filter).await?;
        for delivery in page.deliveries {
            let found = store.history().found(&delivery.key).await.ok().flatten();
            let event = found.and_then(|found| found.event);
            into.insert(delivery.key.id, (delivery.status, event));
        }
        filter.after = page.next;
        if filter.after.is_none() {
            return Ok(());
        }
    }
}
