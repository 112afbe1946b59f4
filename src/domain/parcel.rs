//! Purpose: what one request carries, pure. Must not: depend on when it goes, or on how.
use super::DeliveryId;
use std::fmt;
use uuid::Uuid;

/// A parcel's id. Of one delivery it is that delivery's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParcelId(pub Uuid);

impl fmt::Display for ParcelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for ParcelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One or more deliveries of one subscription: one request, one attempt, one outcome for all of them. In order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel<M> {
    id: ParcelId,
    first: M,
    rest: Vec<M>,
}

impl<M> Parcel<M> {
    /// One delivery.
    pub fn single(delivery: DeliveryId, member: M) -> Self {
        Self { id: ParcelId(delivery.0), first: member, rest: Vec::new() }
    }
    /// Several, under the id that their composition was made durable with.
    pub fn batch(id: ParcelId, first: M, rest: Vec<M>) -> Self {
        Self { id, first, rest }
    }
    /// Its id.
    pub fn id(&self) -> ParcelId {
        self.id
    }
    /// The oldest member.
    pub fn first(&self) -> &M {
        &self.first
    }
    /// The newest member.
    pub fn last(&self) -> &M {
        self.rest.last().unwrap_or(&self.first)
    }
    /// All members, in order.
    pub fn members(&self) -> impl Iterator<Item = &M> {
        std::iter::once(&self.first).chain(&self.rest)
    }
    /// How many there are: at least one.
    pub fn count(&self) -> usize {
        1 + self.rest.len()
    }
    /// The same parcel with something else for each member.
    pub fn with<N>(&self, first: N, rest: Vec<N>) -> Parcel<N> {
        Parcel { id: self.id, first, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_of_one_has_its_deliverys_id() {
        let single = Parcel::single(DeliveryId(Uuid::from_u128(7)), 'a');
        assert_eq!((single.id(), single.count()), (ParcelId(Uuid::from_u128(7)), 1));
        assert_eq!((single.first(), single.last()), (&'a', &'a'));
        let batch = Parcel::batch(ParcelId(Uuid::from_u128(8)), 'a', vec!['b', 'c']);
        assert_eq!(batch.members().collect::<String>(), "abc");
        assert_eq!((batch.first(), batch.last(), batch.count()), (&'a', &'c', 3));
    }
}
