//! Read your writes (SPEC 6): which subscription writes of this process the routing has not applied yet, and waiting for
//! them. Knows no request.
use super::Api;
use crate::domain::{Lsn, Routing, Subscription, SubscriptionId};
use crate::postgres::subscriptions::WrittenSubscription;
use crate::registry::RefusedRows;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A request waits this long (SPEC 6).
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Writes that are remembered; the oldest goes first.
const MOST: usize = 4096;
/// A write whose position is not known, and whose row never came, is forgotten after this long.
const FORGET: Duration = Duration::from_secs(60);

/// A committed write that the stream will bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    id: SubscriptionId,
    active: bool,
    updated_us: i64,
    lsn: Option<Lsn>,
    since: Instant,
}

impl Expected {
    pub(super) fn new(
        id: SubscriptionId,
        active: bool,
        written: WrittenSubscription,
        since: Instant,
    ) -> Self {
        Self { id, active, updated_us: written.updated_us, lsn: written.lsn, since }
    }
    /// By position, or by the row itself: on an idle server the position may be reached only with the next commit.
    fn is_applied(&self, routing: &Routing, refused: &RefusedRows) -> bool {
        if self.lsn.is_some_and(|lsn| routing.applied >= lsn) {
            return true;
        }
        match routing.get(self.id).map(AsRef::as_ref) {
            Some(Subscription { updated_us, active, .. }) => {
                *updated_us > self.updated_us || (*updated_us == self.updated_us && *active == self.active)
            }
            // a deletion is not known to be applied by an absence: the creation may still be on its way
            None => self.active && refused.contains_key(&self.id),
        }
    }
}

/// What this process has written and not yet seen.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<VecDeque<Expected>>);

impl Writes {
    fn add(&self, expected: Expected) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writes.len() >= MOST {
            writes.pop_front();
        }
        writes.push_back(expected);
    }
    /// Forgets what is applied; is nothing left?
    fn all_applied(&self, routing: &Routing, refused: &RefusedRows, now: Instant) -> bool {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writes.retain(|w| {
            let hopeless = w.lsn.is_none() && now.saturating_duration_since(w.since) > FORGET;
            !hopeless && !w.is_applied(routing, refused)
        });
        writes.is_empty()
    }
}

impl Api {
    /// Notes a write and waits until the routing has applied it; false: not within 2 s.
    pub(super) async fn effective(
        &self,
        id: SubscriptionId,
        active: bool,
        written: WrittenSubscription,
    ) -> bool {
        let expected = Expected::new(id, active, written, Instant::now());
        self.0.writes.add(expected);
        self.wait(|routing, refused| expected.is_applied(routing, refused)).await.is_some()
    }
    /// The routing once it has applied every write of this process; `None`: not within 2 s.
    pub(super) async fn settled(&self) -> Option<Arc<Routing>> {
        self.wait(|routing, refused| self.0.writes.all_applied(routing, refused, Instant::now())).await
    }
    async fn wait(&self, mut done: impl FnMut(&Routing, &RefusedRows) -> bool) -> Option<Arc<Routing>> {
        let (mut watch, mut refusals) = (self.0.routing.clone(), self.0.parts.refused.clone());
        let mut announced = true;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let routing = watch.borrow_and_update().clone();
            let refused = refusals.borrow_and_update().clone();
            if done(&routing, &refused) {
                return Some(routing);
            }
            let changed = async {
                tokio::select! {
                    biased;
                    _ = watch.changed() => {}
                    // capture may have ended
                    changed = refusals.changed(), if announced => announced = changed.is_ok(),
                }
            };
            timeout_at(deadline, changed).await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Options, Pattern, TenantId};
    use uuid::Uuid;

    fn row(updated_us: i64, active: bool) -> Subscription {
        Subscription {
            id: SubscriptionId(Uuid::from_u128(1)),
            tenant: TenantId::new("t"),
            pattern: Pattern::Any,
            url: String::new(),
            secret: None,
            active,
            created_us: 0,
            updated_us,
            options: Options::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_applied_by_position_or_by_its_row() {
        let now = Instant::now();
        let written = |lsn| WrittenSubscription { created_us: 0, updated_us: 5, lsn };
        let expect = |active, lsn| Expected::new(row(0, true).id, active, written(lsn), now);
        let routing = |rows: Vec<Subscription>, applied| Routing::load(rows, Lsn(applied));
        let none = RefusedRows::new();
        for (expected, routing, applied) in [
            (expect(true, Some(Lsn(9))), routing(vec![], 8), false),
            (expect(true, Some(Lsn(9))), routing(vec![], 9), true),
            (expect(true, Some(Lsn(9))), routing(vec![row(5, true)], 8), true),
            (expect(true, None), routing(vec![row(4, true)], 100), false),
            (expect(true, None), routing(vec![row(6, false)], 0), true),
            (expect(false, None), routing(vec![row(5, true)], 0), false),
            (expect(false, None), routing(vec![row(5, false)], 0), true),
            (expect(false, Some(Lsn(9))), routing(vec![], 8), false),
            (expect(false, Some(Lsn(9))), routing(vec![], 10), true),
        ] {
            assert_eq!(expected.is_applied(&routing, &none), applied, "{expected:?}");
            let writes = Writes::default();
            writes.add(expected);
            assert_eq!(writes.all_applied(&routing, &none, now), applied);
        }
        let writes = Writes::default();
        writes.add(expect(true, None));
        assert!(!writes.all_applied(&Routing::default(), &none, now + FORGET));
        assert!(writes.all_applied(&Routing::default(), &none, now + FORGET + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_the_same_moment_is_the_write_only_if_it_is_as_active() {
        let now = Instant::now();
        let written = |lsn| WrittenSubscription { created_us: 0, updated_us: 5, lsn };
        let expect = |active, lsn| Expected::new(row(0, true).id, active, written(lsn), now);
        let (nobody, none) = (Routing::default(), RefusedRows::new());
        assert!(!expect(true, None).is_applied(&Routing::load(vec![row(5, false)], Lsn(0)), &none));
        // a row that was refused is as good as applied, but for a deletion
        let refused = RefusedRows::from([(row(0, true).id, "why".into())]);
        assert!(expect(true, None).is_applied(&nobody, &refused));
        assert!(!expect(false, None).is_applied(&nobody, &refused));
        assert!(!expect(true, None).is_applied(&nobody, &none));
        // what has a position is waited for, however long
        let writes = Writes::default();
        writes.add(expect(true, Some(Lsn(9))));
        assert!(!writes.all_applied(&nobody, &none, now + 2 * FORGET));
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_writes_the_oldest_is_forgotten() {
        let writes = Writes::default();
        let written = |lsn| WrittenSubscription { created_us: 0, updated_us: 5, lsn: Some(Lsn(lsn)) };
        for n in 0..=MOST as u64 {
            writes.add(Expected::new(row(0, true).id, true, written(n), Instant::now()));
            let first = writes.0.lock().unwrap().front().and_then(|write| write.lsn);
            assert_eq!(first, Some(Lsn(u64::from(n == MOST as u64))));
        }
        assert_eq!(writes.0.lock().unwrap().len(), MOST);
    }
}
