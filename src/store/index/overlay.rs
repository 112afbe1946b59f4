//! Purpose: what is acknowledged but not yet in the index: newer layers over the index. Must not: read the index, or interpret keys and
//! values.
//!
//! Three generations: `dirty` takes writes, `flushing` is on its way into the index, `recent` is the one that came last. The index has
//! `recent` too. It stays in memory so that a value that was read from the index remains good for a whole generation (`Fetched`).
use crate::fault;
use crate::store::index::{Index, IndexError, Pair};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Pairs in key order; `None` deletes.
pub(in crate::store) type Pairs = BTreeMap<Vec<u8>, Option<Bytes>>;
/// What a scan gives.
pub(in crate::store) type Scanned = Vec<(Vec<u8>, Bytes)>;

/// A value on its way.
#[derive(Debug, Clone)]
pub(in crate::store) struct OverlaySlot {
    pub(in crate::store) value: Option<Bytes>,
    /// No older layer has the key: deleting it leaves no trace. So what comes and goes within one generation costs nothing.
    fresh: bool,
}

/// What the overlay says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Known {
    Here(Bytes),
    Gone,
}

pub(in crate::store) type Layer = BTreeMap<Vec<u8>, OverlaySlot>;

/// Rough memory of one entry beside its bytes.
const ENTRY_COST: usize = 96;

/// The two layers.
#[derive(Debug, Default)]
pub(in crate::store) struct Overlay {
    dirty: Layer,
    dirty_bytes: usize,
    flushing: Option<Arc<Layer>>,
    recent: Arc<Layer>,
    /// Generations that are in the index.
    ended: u64,
}

/// Values that were read from the index before the lock, off the runtime: what `apply` needs and the overlay may not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct Fetched {
    /// `Overlay::ended` before the oldest of them was read.
    ended: u64,
    values: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Fetched {
    /// Nothing yet; what is added must be read from the index after this.
    pub(in crate::store) fn begin(overlay: &Overlay) -> Self {
        Self { ended: overlay.ended, values: BTreeMap::new() }
    }
    /// What the index says of a key.
    pub(in crate::store) fn add(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        self.values.insert(key, value);
    }
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Way {
    Up,
    Down,
}

impl Overlay {
    /// `None`: ask the index.
    pub(in crate::store) fn peek(&self, key: &[u8]) -> Option<Known> {
        let flushing = || self.flushing.as_ref()?.get(key);
        let slot = self.dirty.get(key).or_else(flushing).or_else(|| self.recent.get(key))?;
        Some(slot.value.clone().map_or(Known::Gone, Known::Here))
    }
    /// The same, with what was read from the index before. `None`: it was not read, or too long ago.
    ///
    /// A change since then is in one of the layers, as long as at most one generation has ended.
    pub(in crate::store) fn look(&self, key: &[u8], fetched: &Fetched) -> Option<Known> {
        self.peek(key).or_else(|| {
            let value = fetched.values.get(key).filter(|_| self.is_current(fetched))?;
            Some(value.clone().map_or(Known::Gone, Known::Here))
        })
    }
    /// Has at most one generation ended since these were read?
    pub(in crate::store) fn is_current(&self, fetched: &Fetched) -> bool {
        self.ended <= fetched.ended + 1 || fault::planted("stale-fetch")
    }
    /// `fresh`: the caller knows that the key is nowhere.
    pub(in crate::store) fn put(&mut self, key: Vec<u8>, value: Vec<u8>, fresh: bool) {
        self.dirty_bytes += key.len() + value.len() + ENTRY_COST;
        let fresh = self.dirty.get(&key).map_or(fresh, |old| old.fresh);
        if let Some(old) = self.dirty.insert(key, OverlaySlot { value: Some(value.into()), fresh }) {
            self.dirty_bytes -= old.value.map_or(0, |v| v.len());
        }
    }
    pub(in crate::store) fn remove(&mut self, key: Vec<u8>) {
        if self.dirty.get(&key).is_some_and(|slot| slot.fresh) {
            self.dirty.remove(&key);
        } else {
            self.dirty_bytes += key.len() + ENTRY_COST;
            self.dirty.insert(key, OverlaySlot { value: None, fresh: false });
        }
    }
    /// Entries that wait for a generation.
    pub(in crate::store) fn dirty(&self) -> usize {
        self.dirty.len()
    }
    /// Memory of what waits, never underestimated.
    pub(in crate::store) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }
    /// Begins a generation, or gives the one under way.
    pub(in crate::store) fn begin_flush(&mut self) -> Arc<Layer> {
        let dirty = &mut self.dirty;
        self.dirty_bytes = if self.flushing.is_none() { 0 } else { self.dirty_bytes };
        self.flushing.get_or_insert_with(|| Arc::new(std::mem::take(dirty))).clone()
    }
    /// A generation is under way.
    pub(in crate::store) fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }
    /// The generation is in the index.
    pub(in crate::store) fn end_flush(&mut self) {
        debug_assert!(self.flushing.is_some(), "a generation ends that was not begun");
        self.recent = self.flushing.take().unwrap_or_default();
        self.ended += 1;
    }
    /// Up to `limit` pairs of `[from, to)`, those nearest the scan's start; newest layer wins.
    fn page(&self, from: &[u8], to: &[u8], way: Way, limit: usize) -> Pairs {
        let mut pairs = Pairs::new();
        if from >= to {
            return pairs;
        }
        for layer in self.flushing.as_deref().into_iter().chain([&self.dirty]) {
            let range = layer.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
            let mut take = |(key, slot): (&Vec<u8>, &OverlaySlot)| {
                pairs.insert(key.clone(), slot.value.clone());
            };
            match way {
                Way::Up => range.take(limit).for_each(&mut take),
                Way::Down => range.rev().take(limit).for_each(&mut take),
            }
        }
        while pairs.len() > limit {
            match way {
                Way::Up => pairs.pop_last(),
                Way::Down => pairs.pop_first(),
            };
        }
        pairs
    }
}

/// Hands an overlay to a closure, behind whatever lock.
pub(in crate::store) type Look<'a> = &'a dyn Fn(&mut dyn FnMut(&Overlay));

/// Scans index and overlay as one. `overlay` hands the overlay to a closure (behind whatever lock), always before the index
/// is read, so that an entry that moves from one to the other meanwhile is not missed.
pub(in crate::store) fn scan(
    overlay: Look<'_>,
    index: &dyn Index,
    range: (&[u8], &[u8]),
    way: Way,
    limit: usize,
) -> Result<Scanned, IndexError> {
    let (mut from, mut to) = (range.0.to_vec(), range.1.to_vec());
    let mut out = Vec::new();
    while out.len() < limit && from < to {
        let want = (limit - out.len()).max(16);
        let mut newer = Pairs::new();
        overlay(&mut |overlay| newer = overlay.page(&from, &to, way, want));
        let older = match way {
            Way::Up => index.scan(&from, &to, want)?,
            Way::Down => index.scan_back(&from, &to, want)?,
        };
        let edge = edge(&newer, &older, way, want);
        let mut merged: Pairs = older.into_iter().map(|(k, v)| (k, Some(v.into()))).collect();
        merged.extend(newer);
        let inside = |key: &Vec<u8>| {
            edge.as_ref().is_none_or(|edge| if way == Way::Up { key <= edge } else { key >= edge })
        };
        let live = merged.into_iter().filter(|(k, _)| inside(k)).filter_map(|(k, v)| Some((k, v?)));
        let room = limit - out.len();
        match way {
            Way::Up => out.extend(live.take(room)),
            Way::Down => out.extend(live.rev().take(room)),
        }
        match (edge, way) {
            (None, _) => break,
            (Some(edge), Way::Up) => from = crate::store::index::keys::successor(&edge),
            (Some(edge), Way::Down) => to = edge,
        }
    }
    Ok(out)
}

/// How far both layers were read: a layer that filled its page says nothing about what lies beyond. `None`: to the end.
fn edge(newer: &Pairs, older: &[Pair], way: Way, want: usize) -> Option<Vec<u8>> {
    let newer_edge = match way {
        Way::Up => newer.last_key_value(),
        Way::Down => newer.first_key_value(),
    };
    let newer_edge = newer_edge.filter(|_| newer.len() >= want).map(|(k, _)| k.clone());
    let older_edge = older.last().filter(|_| older.len() >= want).map(|(k, _)| k.clone());
    match (newer_edge, older_edge) {
        (Some(a), Some(b)) if way == Way::Up => Some(a.min(b)),
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::memory::MemoryIndex;
    use proptest::prelude::*;

    fn merged(overlay: &Overlay, index: &MemoryIndex, way: Way, limit: usize) -> Vec<(Vec<u8>, Bytes)> {
        scan(&|look| look(overlay), index, (b"", b"\xff"), way, limit).unwrap()
    }

    #[test]
    fn what_comes_and_goes_leaves_no_trace() {
        let mut overlay = Overlay::default();
        overlay.put(b"a".to_vec(), b"1".to_vec(), true);
        overlay.put(b"a".to_vec(), b"2".to_vec(), false);
        overlay.remove(b"a".to_vec());
        assert_eq!(overlay.dirty(), 0);
        overlay.put(b"b".to_vec(), b"1".to_vec(), true);
        overlay.begin_flush();
        overlay.remove(b"b".to_vec());
        assert_eq!((overlay.dirty(), overlay.peek(b"b")), (1, Some(Known::Gone)));
    }

    #[test]
    fn what_waits_is_weighed_and_a_generation_takes_it_along() {
        let mut overlay = Overlay::default();
        overlay.put(b"key".to_vec(), b"value".to_vec(), true);
        assert_eq!(overlay.dirty_bytes(), ENTRY_COST + 8);
        overlay.put(b"key".to_vec(), b"v".to_vec(), false);
        assert_eq!(overlay.dirty_bytes(), 2 * ENTRY_COST + 8 + 4 - 5, "what was there weighs no more");
        overlay.remove(b"k2".to_vec());
        assert_eq!((overlay.dirty_bytes(), overlay.is_flushing()), (3 * ENTRY_COST + 9, false));
        overlay.begin_flush();
        assert_eq!((overlay.dirty_bytes(), overlay.is_flushing()), (0, true));
        overlay.put(b"k".to_vec(), b"v".to_vec(), true);
        assert_eq!(overlay.begin_flush().len(), 2, "the one under way");
        assert_eq!((overlay.dirty(), overlay.dirty_bytes()), (1, ENTRY_COST + 2));
        overlay.end_flush();
        assert!(!overlay.is_flushing());
    }

    #[test]
    fn what_was_read_is_good_until_a_second_generation_has_ended() {
        let mut overlay = Overlay::default();
        let end = |overlay: &mut Overlay| {
            overlay.begin_flush();
            overlay.end_flush();
        };
        (0..3).for_each(|_| end(&mut overlay));
        let mut fetched = Fetched::begin(&overlay);
        fetched.add(b"here".to_vec(), Some(Bytes::from_static(b"1")));
        fetched.add(b"gone".to_vec(), None);
        for good in [true, true, false] {
            assert_eq!(overlay.is_current(&fetched), good);
            let here = Some(Known::Here(Bytes::from_static(b"1")));
            assert_eq!(overlay.look(b"here", &fetched), here.filter(|_| good));
            assert_eq!(overlay.look(b"gone", &fetched), Some(Known::Gone).filter(|_| good));
            assert_eq!(overlay.look(b"never read", &fetched), None);
            end(&mut overlay);
        }
    }

    #[test]
    fn a_scan_reads_on_where_the_page_of_a_layer_ends() {
        // every key in one of the layers: bit 0 the index, 1 the generation under way, 2 what waits
        for layers in 1..8_u8 {
            let (mut overlay, index) = (Overlay::default(), MemoryIndex::default());
            let part = |nth: u8| (0..180_u8).filter(move |key| key % 3 == nth && (layers >> nth) & 1 == 1);
            index.take(&mut part(0).map(|key| (vec![key], Some(vec![key])))).unwrap();
            part(1).for_each(|key| overlay.put(vec![key], vec![key], true));
            overlay.begin_flush();
            part(2).for_each(|key| overlay.put(vec![key], vec![key], true));
            let mut all: Vec<u8> = (0..3).flat_map(part).collect();
            all.sort_unstable();
            for limit in [1, 15, 16, 17, 40, 60, 61, 179, 200] {
                let keys = |way| -> Vec<u8> {
                    merged(&overlay, &index, way, limit).iter().map(|(key, _)| key[0]).collect()
                };
                assert_eq!(keys(Way::Up), all.iter().copied().take(limit).collect::<Vec<_>>());
                assert_eq!(keys(Way::Down), all.iter().copied().rev().take(limit).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_is_gone_does_not_come_back_behind_the_page_that_says_so() {
        let (mut overlay, index) = (Overlay::default(), MemoryIndex::default());
        // the index' page reaches far further than the one of what is gone
        let sparse = (0..=250_u8).filter(|key| key % 10 == 0);
        index.take(&mut sparse.map(|key| (vec![key], Some(vec![key])))).unwrap();
        (1..250_u8).for_each(|key| overlay.remove(vec![key]));
        let keys =
            |way| -> Vec<u8> { merged(&overlay, &index, way, 5).iter().map(|(key, _)| key[0]).collect() };
        assert_eq!((keys(Way::Up), keys(Way::Down)), (vec![0, 250], vec![250, 0]));
    }

    proptest! {
        /// The layered reads are those of one map, whatever was written, deleted and flushed in between.
        #[test]
        fn reads_are_those_of_one_map(steps in proptest::collection::vec((0_u8..8, 0_u8..40, any::<u8>()), 0..300), limit in 1_usize..50) {
            let (mut overlay, index, mut model) = (Overlay::default(), MemoryIndex::default(), BTreeMap::new());
            let mut fetched = Fetched::default();
            for (step, key, value) in steps {
                match step {
                    0..=3 => {
                        let fresh = !model.contains_key(&vec![key]);
                        overlay.put(vec![key], vec![value], fresh);
                        model.insert(vec![key], vec![value]);
                    }
                    4..=5 => {
                        overlay.remove(vec![key]);
                        model.remove(&vec![key]);
                    }
                    6 => {
                        // a value that is read now is good until a second generation has ended
                        fetched = Fetched::begin(&overlay);
                        for key in 0..40_u8 {
                            fetched.add(vec![key], index.get(&[key]).unwrap().map(Bytes::from));
                        }
                        drop(overlay.begin_flush());
                    }
                    _ => {
                        let layer = overlay.begin_flush();
                        let mut writes = layer.iter().map(|(k, s)| (k.clone(), s.value.as_ref().map(|v| v.to_vec())));
                        index.take(&mut writes).unwrap();
                        overlay.end_flush();
                    }
                }
            }
            let up: Vec<_> = model.iter().take(limit).map(|(k, v)| (k.clone(), Bytes::from(v.clone()))).collect();
            let down: Vec<_> = model.iter().rev().take(limit).map(|(k, v)| (k.clone(), Bytes::from(v.clone()))).collect();
            prop_assert_eq!(merged(&overlay, &index, Way::Up, limit), up);
            prop_assert_eq!(merged(&overlay, &index, Way::Down, limit), down);
            for key in 0..40_u8 {
                let expected = model.get(&vec![key]).map_or(Known::Gone, |v| Known::Here(Bytes::from(v.clone())));
                let asked = overlay.peek(&[key]).unwrap_or_else(|| index.get(&[key]).unwrap().map_or(Known::Gone, |v| Known::Here(v.into())));
                prop_assert_eq!(asked, expected.clone());
                prop_assert!(overlay.look(&[key], &fetched).is_none_or(|found| found == expected), "a stale value of {}", key);
            }
        }
    }
}
