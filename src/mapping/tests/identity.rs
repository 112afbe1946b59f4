//! The default replica identity with the shadow gives the same events, in the same order, as REPLICA IDENTITY FULL.
use super::{World, row, table};
use crate::domain::{Cell, Change, Image, Operation, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const RULES: &str = "
[[event]]
name = 'a.created'
table = 'public.t'
on = 'insert'
tenant = 'tenant_id'
[[event]]
name = 'a.sent'
table = 'public.t'
on = 'update'
tenant = 'tenant_id'
becomes = { status = 'sent' }
[[event]]
name = 'a.touched'
table = 'public.t'
on = ['update', 'delete']
tenant = 'tenant_id'
row = 'change'
data = { id = 'id', status = 'status', n = 'n' }
when = \"old.n != 2\"
[[event]]
name = 'a.changed'
table = 'public.t'
on = 'update'
tenant = 'tenant_id'
changed = ['n', 'status']
[[event]]
name = 'a.gone'
table = 'public.t'
on = 'delete'
tenant = 'tenant_id'
data = { id = 'id', status = 'status' }
";

/// One step of the history: key, new key, status, n; what is possible is done.
type Act = (u8, u8, u8, u8, u8);

/// What the two identities send for the same act, and the model after it.
fn act(
    rows: &mut BTreeMap<u8, Image>,
    t: &Arc<Table>,
    (what, key, to, status, n): Act,
) -> Option<(Change, Change)> {
    let status = ["draft", "sent", "paid"][usize::from(status % 3)];
    let image = |key: u8| row(&format!(r#"{key}|"t"|"{status}"|{}"#, n % 3));
    let key_only = |image: &Image| {
        let mut image = image.clone();
        image[1..].fill(Cell::NotSent);
        image
    };
    let change = |op, old: Option<Image>, new: Option<Image>| Change { op, table: Arc::clone(t), old, new };
    let old = rows.get(&key).cloned();
    match (what % 4, old) {
        (0 | 1, None) => {
            rows.insert(key, image(key));
            let insert = change(Operation::Insert, None, Some(image(key)));
            Some((insert.clone(), insert))
        }
        (0 | 1, Some(old)) => {
            rows.insert(key, image(key));
            let update = |old| change(Operation::Update, old, Some(image(key)));
            Some((update(None), update(Some(old))))
        }
        (2, Some(old)) if !rows.contains_key(&to) => {
            rows.remove(&key);
            rows.insert(to, image(to));
            let update = |old| change(Operation::Update, Some(old), Some(image(to)));
            Some((update(key_only(&old)), update(old)))
        }
        (3, Some(old)) => {
            rows.remove(&key);
            let delete = |old| change(Operation::Delete, Some(old), None);
            Some((delete(key_only(&old)), delete(old)))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(super::steady())]

    #[test]
    fn is_as_good_as_full(history in proptest::collection::vec(
        proptest::collection::vec((any::<u8>(), 0_u8..4, 0_u8..4, any::<u8>(), any::<u8>()), 1..6),
        1..12,
    )) {
        let t = table("public.t", "*id tenant_id status n:int");
        let (mut default, mut full) = (World::new(RULES), World::new(RULES));
        let mut rows = BTreeMap::new();
        for transaction in history {
            let changes: (Vec<_>, Vec<_>) = transaction.into_iter().filter_map(|step| act(&mut rows, &t, step)).unzip();
            let (a, b) = (default.commit(changes.0), full.commit(changes.1));
            prop_assert!(a.faults.is_empty(), "{:?}", a.faults);
            prop_assert_eq!(b.disagreements, 0);
            prop_assert_eq!(a.events, b.events);
            prop_assert_eq!(default.shadow.len(), rows.len(), "a row is remembered as long as it lives");
            prop_assert_eq!(&default.shadow, &full.shadow);
        }
    }
}
