//! The journal's format: what the header frame of a segment says, and whether this version reads it. Must not depend on files.
//!
//! Format 0 has no header: a segment begins with its first batch. Since format 1 the first frame of each segment is a header: the
//! format's number, then the names of the features that the segment may use. A frame's envelope (`frame`), the header's kind and
//! the place of the number are the same in every format, so that each version can name what it cannot read.
//!
//! A new record kind, a new field or a new frame kind is a new name in `FEATURES`: earlier versions then refuse the folder at its
//! header. Whatever they meet without such a name, in a frame whose CRC is right, they refuse all the same (`codec::Unknown`).
use crate::store::records::field::{Malformed, Reader, Writer};

/// The format that this version writes, and the newest one that it reads.
pub(in crate::store) const FORMAT: u32 = 1;
/// What segments of this version may use beside what every reader of `FORMAT` reads. Sorted; a name is never used twice.
const FEATURES: &[&str] = &[
    // the values of a subscription's headers are sealed: an earlier version would send them as they are
    "sealed-headers",
    // `Identity::shadow_plan` says by what tables are followed, and which of their rows' lines is in use: an earlier version would read another
    "table-identities",
];
/// No header is longer, in any format.
pub(in crate::store) const MAX_HEADER: usize = 4096;

/// The body of the header that this version writes.
pub(in crate::store) fn header() -> Vec<u8> {
    let mut w = Writer::default();
    w.u32(FORMAT).u32(FEATURES.len() as u32);
    for name in FEATURES {
        w.text(name);
    }
    w.0
}

/// Reads a header's body. An error names what this version does not read.
pub(in crate::store) fn check(body: &[u8]) -> Result<(), String> {
    let mut r = Reader::new(body);
    let strange = |_: Malformed| "a header of another form".to_owned();
    let format = r.u32().map_err(strange)?;
    if format > FORMAT {
        return Err(format!("format {format}"));
    }
    for _ in 0..r.u32().map_err(strange)? {
        let name = r.text().map_err(strange)?;
        if !FEATURES.contains(&name) {
            return Err(format!("feature {}", name.escape_debug()));
        }
    }
    r.end().map_err(strange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_read_by_the_version_that_writes_it_and_by_no_older_one() {
        assert_eq!(check(&header()), Ok(()));
        let body = |format: u32, names: &[&str]| {
            let mut w = Writer::default();
            w.u32(format).u32(names.len() as u32);
            for name in names {
                w.text(name);
            }
            w.0
        };
        assert_eq!(check(&body(1, &[])), Ok(()));
        assert_eq!(check(&body(2, &[])), Err("format 2".to_owned()));
        assert_eq!(check(&[&9_u32.to_le_bytes()[..], b"whatever"].concat()), Err("format 9".to_owned()));
        assert_eq!(check(&body(1, &["wings"])), Err("feature wings".to_owned()));
        assert!(check(&[header(), vec![0]].concat()).is_err(), "a field that is not known");
        assert!(header().len() <= MAX_HEADER && FEATURES.is_sorted());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = check(&bytes);
        }
    }
}
