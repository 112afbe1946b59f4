//! Purpose: who wants what: subscriptions by id and by tenant, as of a position. Must not: read rows, or judge them.
use super::{EventName, Lsn, Subscription, SubscriptionId, TenantId};
use std::collections::BTreeMap;
use std::sync::Arc;

type ById = BTreeMap<SubscriptionId, Arc<Subscription>>;

/// All subscriptions as of one position; clones share what has not changed, for the store publishes one after each batch.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    by_id: Arc<ById>,
    by_tenant: Arc<BTreeMap<TenantId, ById>>,
    /// Everything committed up to here has been applied.
    pub applied: Lsn,
}

impl Routing {
    /// From what the store holds.
    pub fn load(subscriptions: Vec<Subscription>, applied: Lsn) -> Self {
        let mut routing = Self { applied, ..Self::default() };
        for subscription in subscriptions {
            routing.put(subscription);
        }
        routing
    }
    /// Adds or replaces.
    pub fn put(&mut self, subscription: Subscription) {
        self.remove(subscription.id);
        let shared = Arc::new(subscription);
        if shared.active {
            Arc::make_mut(&mut self.by_tenant)
                .entry(shared.tenant.clone())
                .or_default()
                .insert(shared.id, shared.clone());
        }
        Arc::make_mut(&mut self.by_id).insert(shared.id, shared);
    }
    /// Forgets one.
    pub fn remove(&mut self, id: SubscriptionId) {
        let Some(old) = self.by_id.get(&id).cloned() else { return };
        Arc::make_mut(&mut self.by_id).remove(&id);
        let tenants = Arc::make_mut(&mut self.by_tenant);
        if let Some(of_tenant) = tenants.get_mut(&old.tenant) {
            of_tenant.remove(&id);
            if of_tenant.is_empty() {
                tenants.remove(&old.tenant);
            }
        }
    }
    /// Forgets all (TRUNCATE).
    pub fn clear(&mut self) {
        *self = Self { applied: self.applied, ..Self::default() };
    }
    /// Do both hold the same subscriptions (whatever position they have been applied to)?
    pub fn same_subscriptions(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_id, &other.by_id)
    }
    /// Every one, active or not.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_id.values()
    }
    /// One by id, active or not.
    pub fn get(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.by_id.get(&id)
    }
    /// The active subscriptions of a tenant, in no useful order.
    pub fn of_tenant(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_tenant.get(tenant).into_iter().flat_map(BTreeMap::values)
    }
    /// The active subscriptions of a tenant that ask for an event.
    pub fn route<'a>(
        &'a self,
        tenant: &TenantId,
        name: &'a EventName,
    ) -> impl Iterator<Item = &'a Arc<Subscription>> {
        self.by_tenant.get(tenant).into_iter().flat_map(BTreeMap::values).filter(|s| s.pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Options, Pattern};
    use uuid::Uuid;

    fn subscription(n: u128, tenant: &str, active: bool) -> Subscription {
        Subscription {
            id: SubscriptionId(Uuid::from_u128(n)),
            tenant: TenantId::new(tenant),
            pattern: Pattern::Any,
            url: "https://a.example/".into(),
            secret: None,
            active,
            created_us: 0,
            updated_us: 0,
            options: Options::default(),
        }
    }

    fn ids(routing: &Routing, tenant: &str) -> Vec<u128> {
        routing.of_tenant(&TenantId::new(tenant)).map(|s| s.id.0.as_u128()).collect()
    }

    #[test]
    fn what_the_store_holds_is_routed_from_where_it_stood() {
        let held = vec![subscription(1, "a", true), subscription(2, "b", true), subscription(3, "a", false)];
        let routing = Routing::load(held, Lsn(7));
        assert_eq!((ids(&routing, "a"), ids(&routing, "b"), routing.applied), (vec![1], vec![2], Lsn(7)));
        assert!(routing.get(SubscriptionId(Uuid::from_u128(3))).is_some(), "known, though not active");
    }

    #[test]
    fn a_truncate_forgets_all_but_the_position() {
        let mut routing = Routing::load(vec![subscription(1, "a", true)], Lsn(7));
        routing.clear();
        assert_eq!((ids(&routing, "a"), routing.applied), (vec![], Lsn(7)));
        assert_eq!(routing.get(SubscriptionId(Uuid::from_u128(1))), None);
    }

    #[test]
    fn a_position_alone_makes_no_other_subscriptions() {
        let before = Routing::load(vec![subscription(1, "a", true)], Lsn(7));
        let mut after = Routing { applied: Lsn(8), ..before.clone() };
        assert!(after.same_subscriptions(&before));
        after.put(subscription(1, "b", true));
        assert!(!after.same_subscriptions(&before));
    }
}
