//! The one source of chance: splitmix64. Knows nothing of what is decided with it.
use std::sync::{Arc, Mutex};

/// A stream of numbers that one seed decides; clones share the stream, `fork` makes an independent one.
#[derive(Clone, Debug)]
pub(crate) struct Rng(Arc<Mutex<u64>>);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)))))
    }
    /// An independent stream for one part, so that a draw here does not shift the draws there.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.next())
    }
    /// The same, without a draw: what comes to a history later leaves what its seed decided before as it was.
    pub(crate) fn aside(&self) -> Self {
        let state = *self.0.lock().unwrap();
        Self::new(!state)
    }
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(*state)
    }
    /// `0..n`; 0 when `n` is 0.
    pub(crate) fn below(&self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
    /// `from..to`.
    pub(crate) fn range(&self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }
    /// True in `n` of 1000.
    pub(crate) fn permille(&self, n: u64) -> bool {
        self.below(1000) < n
    }
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }
    pub(crate) fn uuid(&self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[test]
fn a_seed_decides_the_stream() {
    let (a, b) = (Rng::new(7), Rng::new(7));
    let drawn: Vec<u64> = (0..100).map(|_| a.next()).collect();
    assert_eq!(drawn, (0..100).map(|_| b.next()).collect::<Vec<_>>());
    assert_ne!(drawn[0], Rng::new(8).next());
    assert_ne!(a.fork().next(), a.fork().next());
    assert!((0..1000).all(|_| (3..9).contains(&a.range(3, 9))));
}
