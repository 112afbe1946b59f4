//! Purpose: the transactions that are decoded and in no batch yet, bounded by the bytes of their messages. Must not: depend on what
//! becomes of them.
use crate::domain::{Lsn, Transaction};

/// Bytes of WAL messages whose transactions may wait, decoded, while a batch is made durable; then reading pauses.
const WAITING_BYTES: usize = 32 << 20;
/// Bytes in one batch, about a thousand small changes: bounds the frame and the time until the first of them is sent.
const BATCH_BYTES: usize = 256 << 10;

/// In commit order.
#[derive(Debug, Default)]
pub(in crate::capture) struct Waiting {
    /// With the bytes of their messages.
    transactions: Vec<(Transaction, usize)>,
    /// Their sum.
    bytes: usize,
    /// Of the transaction that is not complete.
    open: usize,
}

impl Waiting {
    /// A message came.
    pub(in crate::capture) fn message(&mut self, bytes: usize) {
        self.open += bytes;
    }

    /// The messages since the last one made a transaction.
    pub(in crate::capture) fn complete(&mut self, transaction: Transaction) {
        let bytes = std::mem::take(&mut self.open);
        debug_assert!(
            self.transactions.last().is_none_or(|(last, _)| last.commit_lsn < transaction.commit_lsn),
            "transactions come in commit order"
        );
        self.bytes += bytes;
        self.transactions.push((transaction, bytes));
    }

    /// Reading pauses.
    pub(in crate::capture) fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES
    }

    /// The next one.
    pub(in crate::capture) fn first(&self) -> Option<&Transaction> {
        self.transactions.first().map(|(transaction, _)| transaction)
    }

    /// The next batch: at least one, if any waits, and none that commits at `before` or later.
    pub(in crate::capture) fn take(&mut self, before: Option<Lsn>) -> Vec<Transaction> {
        debug_assert!(
            self.first().zip(before).is_none_or(|(first, before)| first.commit_lsn < before),
            "the fill comes before what commits behind its point"
        );
        let mut taken = 0;
        let fits = |(transaction, bytes): &&(Transaction, usize)| {
            taken += bytes;
            taken <= BATCH_BYTES && before.is_none_or(|before| transaction.commit_lsn < before)
        };
        let count = self.transactions.iter().take_while(fits).count().max(1).min(self.transactions.len());
        let rest = self.transactions.split_off(count);
        let batch = std::mem::replace(&mut self.transactions, rest);
        self.bytes -= batch.iter().map(|(_, bytes)| bytes).sum::<usize>();
        debug_assert_eq!(self.bytes, self.transactions.iter().map(|(_, bytes)| bytes).sum::<usize>());
        batch.into_iter().map(|(transaction, _)| transaction).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(commit: u64) -> Transaction {
        let (commit_lsn, end_lsn) = (Lsn(commit), Lsn(commit + 1));
        Transaction { xid: 7, commit_lsn, end_lsn, commit_us: 0, changes: Vec::new() }
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_by_the_point_of_a_fill() {
        let mut waiting = Waiting::default();
        for commit in [10, 20, 30, 40] {
            waiting.message(BATCH_BYTES / 4);
            waiting.message(BATCH_BYTES / 4);
            waiting.complete(transaction(commit));
        }
        let commits = |batch: Vec<Transaction>| batch.iter().map(|t| t.commit_lsn.0).collect::<Vec<_>>();
        assert_eq!(commits(waiting.take(None)), [10, 20], "two fill a batch");
        assert_eq!(commits(waiting.take(Some(Lsn(40)))), [30], "40 waits for the fill");
        assert_eq!(waiting.first().map(|next| next.commit_lsn), Some(Lsn(40)));
        assert_eq!((commits(waiting.take(None)), waiting.bytes), (vec![40], 0));
        assert_eq!(commits(waiting.take(None)), [0_u64; 0]);
    }

    #[test]
    fn one_that_is_larger_than_a_batch_goes_alone_and_reading_pauses() {
        let mut waiting = Waiting::default();
        waiting.message(WAITING_BYTES - 1);
        waiting.complete(transaction(10));
        assert!(!waiting.is_full());
        waiting.message(1);
        waiting.complete(transaction(20));
        assert!(waiting.is_full());
        assert_eq!(waiting.take(None).len(), 1);
        assert!(!waiting.is_full());
    }
}
