//! Purpose: which publications a stream names, and from where on the second one exists.
//! pgoutput looks a publication up in the catalog as it was when the change was written (before Postgres 18): a stream that
//! names one in WAL from before it was made ends with 42704. So the second is left out until the transaction that made it has
//! passed; that transaction carries a message (`postgres::publication::MADE`), so nothing behind it is missed.
//! Must not: speak to the server.
use crate::capture::decode::pgoutput::{Message, decode};
use crate::capture::source::Frame;
use crate::domain::Lsn;
use crate::postgres::publication::{MADE, insert_name};
use tracing::{info, warn};

/// The publications of one slot.
#[derive(Debug)]
pub(in crate::capture) struct Publications {
    main: String,
    insert: String,
    /// The second one has tables.
    used: bool,
    /// The server's end of WAL when we looked: what is in the catalog now exists from there on at the latest.
    wal_end: Lsn,
    absent: Option<Absent>,
}

/// The second publication does not exist yet in the WAL that is read.
#[derive(Debug)]
struct Absent {
    /// By here it exists, whoever made it.
    until: Lsn,
    /// Its making was read, its commit not.
    announced: bool,
    /// A transaction has begun and not ended: what is left of it must be read.
    open: bool,
    /// From here on it is named; nothing behind this may be read without it.
    from: Option<Lsn>,
}

impl Publications {
    pub(in crate::capture) fn new(main: &str) -> Self {
        Self {
            main: main.to_owned(),
            insert: insert_name(main),
            used: false,
            wal_end: Lsn::ZERO,
            absent: None,
        }
    }

    /// The second one's name.
    pub(in crate::capture) fn insert(&self) -> &str {
        &self.insert
    }

    /// What the catalog says now.
    pub(in crate::capture) fn surveyed(&mut self, used: bool, wal_end: Lsn) {
        (self.used, self.wal_end) = (used, wal_end);
    }

    /// What the stream names.
    pub(in crate::capture) fn names(&self) -> Vec<&str> {
        let second = self.used && self.absent.is_none();
        [&self.main, &self.insert].into_iter().take(1 + usize::from(second)).map(String::as_str).collect()
    }

    /// The server misses a publication. True: it is the second one, and the next stream leaves it out for a while.
    pub(in crate::capture) fn missed(&mut self, says: &str) -> bool {
        let ours = self.names().len() > 1 && says.contains(&self.insert);
        if ours {
            info!(
                "publication \"{}\" is younger than the position: streaming without it up to its making",
                self.insert
            );
            self.absent = Some(Absent { until: self.wal_end, announced: false, open: false, from: None });
        }
        ours
    }

    /// A frame passes.
    pub(in crate::capture) fn passes(&mut self, frame: &Frame) {
        let Some(absent) = self.absent.as_mut().filter(|absent| absent.from.is_none()) else { return };
        let by_time = match frame {
            Frame::Wal { data, .. } => match data.first().map(|_| decode(data.clone())) {
                Some(Ok(Message::Logical { prefix, content, .. })) => {
                    absent.announced |= prefix == MADE && content == self.insert.as_bytes();
                    None
                }
                Some(Ok(Message::Begin { .. })) => {
                    absent.open = true;
                    None
                }
                Some(Ok(Message::Commit { end_lsn, .. })) => {
                    absent.open = false;
                    absent.from = absent.announced.then_some(end_lsn);
                    Some(end_lsn).filter(|_| !absent.announced)
                }
                _ => None,
            },
            // its end is behind every transaction that was sent whole; one may come in the middle of another
            Frame::Keepalive { end, .. } => Some(*end).filter(|_| !absent.open),
        };
        if let Some(end) = by_time.filter(|end| *end >= absent.until) {
            warn!(
                "publication \"{}\" was not made by `tailhook migrate`: what was inserted before {end} into its tables may have no events",
                self.insert
            );
            absent.from = Some(end);
        }
    }

    /// Nothing more is read before this is durable: the next stream begins there, with both.
    pub(in crate::capture) fn reopens_at(&self) -> Option<Lsn> {
        self.absent.as_ref()?.from
    }

    /// It is durable. The name of what exists now.
    pub(in crate::capture) fn reopened(&mut self) -> &str {
        self.absent = None;
        &self.insert
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};

    fn wal(data: Bytes) -> Frame {
        Frame::Wal { start: Lsn::ZERO, end: Lsn::ZERO, data }
    }

    /// `M`: flags, LSN, prefix, content (protocol-logicalrep-message-formats).
    fn message(prefix: &str, content: &str) -> Frame {
        let mut data = BytesMut::new();
        data.put_slice(b"M\x01");
        data.put_u64(5);
        data.put_slice(prefix.as_bytes());
        data.put_u8(0);
        data.put_u32(content.len() as u32);
        data.put_slice(content.as_bytes());
        wal(data.freeze())
    }

    /// `C`: flags, commit LSN, end LSN, time.
    fn commit(end: u64) -> Frame {
        let mut data = BytesMut::new();
        data.put_slice(b"C\0");
        data.put_u64(end - 1);
        data.put_u64(end);
        data.put_i64(0);
        wal(data.freeze())
    }

    fn missing() -> Publications {
        let mut publications = Publications::new("th");
        publications.surveyed(true, Lsn(1000));
        assert_eq!(publications.names(), ["th", "th_insert"]);
        assert!(!publications.missed("publication \"th\" does not exist"), "a gap, and not ours to mend");
        assert!(publications.missed("publication \"th_insert\" does not exist"));
        assert_eq!(publications.names(), ["th"]);
        publications
    }

    #[test]
    fn an_empty_one_is_never_named() {
        let mut publications = Publications::new("th");
        publications.surveyed(false, Lsn(1000));
        assert_eq!(publications.names(), ["th"]);
        assert!(!publications.missed("publication \"th_insert\" does not exist"));
    }

    #[test]
    fn the_stream_is_opened_anew_right_behind_the_making() {
        let mut publications = missing();
        for frame in
            [message("other", "th_insert"), message(MADE, "other_insert"), commit(500), wal(Bytes::new())]
        {
            publications.passes(&frame);
        }
        assert_eq!(publications.reopens_at(), None);
        publications.passes(&message(MADE, "th_insert"));
        assert_eq!(publications.reopens_at(), None, "its transaction is open");
        publications.passes(&commit(600));
        publications.passes(&commit(700));
        assert_eq!(publications.reopens_at(), Some(Lsn(600)));
        assert_eq!(publications.reopened(), "th_insert");
        assert_eq!(publications.names(), ["th", "th_insert"]);
    }

    /// Nothing more would be read of it, and it could never become durable.
    #[test]
    fn a_keepalive_inside_a_transaction_does_not_stop_the_reading() {
        let mut publications = missing();
        let mut begin = BytesMut::new();
        begin.put_u8(b'B');
        begin.put_u64(1499);
        begin.put_i64(0);
        begin.put_u32(7);
        publications.passes(&wal(begin.freeze()));
        publications.passes(&Frame::Keepalive { end: Lsn(1200), reply: false });
        assert_eq!(publications.reopens_at(), None);
        publications.passes(&commit(1500));
        assert_eq!(publications.reopens_at(), Some(Lsn(1500)));
    }

    #[test]
    fn made_by_others_it_is_named_once_it_must_exist() {
        for passing in [commit(1000), Frame::Keepalive { end: Lsn(1000), reply: false }] {
            let mut publications = missing();
            publications.passes(&commit(999));
            publications.passes(&Frame::Keepalive { end: Lsn(999), reply: false });
            assert_eq!(publications.reopens_at(), None);
            publications.passes(&passing);
            assert_eq!(publications.reopens_at(), Some(Lsn(1000)));
        }
    }
}
