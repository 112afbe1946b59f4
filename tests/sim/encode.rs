//! Writes pgoutput (protocol 1) as Postgres 15 does. Knows the bytes, not when they are sent.
//! <https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html>
use crate::erp::{Cells, Op, Txn};
use crate::schema::{TABLES, TableSpec};
use bytes::{BufMut, Bytes, BytesMut};

/// Unix microseconds of 2000-01-01, where Postgres counts from.
const PG_EPOCH_US: i64 = 946_684_800_000_000;

fn text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

pub(crate) fn begin(txn: &Txn) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'B');
    out.put_u64(txn.commit);
    out.put_i64(txn.commit_us - PG_EPOCH_US);
    out.put_u32(txn.xid);
    out.freeze()
}

pub(crate) fn commit(txn: &Txn) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'C');
    out.put_u8(0);
    out.put_u64(txn.commit);
    out.put_u64(txn.end);
    out.put_i64(txn.commit_us - PG_EPOCH_US);
    out.freeze()
}

pub(crate) fn relation(table: &TableSpec) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'R');
    out.put_u32(table.oid);
    text(&mut out, table.schema);
    text(&mut out, table.name);
    out.put_u8(table.identity);
    out.put_u16(table.columns.len() as u16);
    for (name, oid, key) in table.columns {
        // under replica identity full every column is part of the identity
        out.put_u8(u8::from(*key || table.identity == b'f'));
        text(&mut out, name);
        out.put_u32(*oid);
        out.put_i32(-1);
    }
    out.freeze()
}

fn tuple(out: &mut BytesMut, cells: &Cells, sent: impl Fn(usize) -> Sent) {
    out.put_u16(cells.len() as u16);
    for (i, cell) in cells.iter().enumerate() {
        match (sent(i), cell) {
            (Sent::Unchanged, _) => out.put_u8(b'u'),
            (Sent::Null, _) | (_, None) => out.put_u8(b'n'),
            (Sent::Value, Some(value)) => {
                out.put_u8(b't');
                out.put_u32(value.len() as u32);
                out.put_slice(value.as_bytes());
            }
        }
    }
}

/// What a tuple says of one column.
enum Sent {
    Value,
    Null,
    Unchanged,
}

/// Values longer than this are stored out of line and are not sent again while they do not change.
pub(crate) const TOASTED: usize = 2000;

/// Is this column of an update left out as unchanged TOAST?
pub(crate) fn unchanged(old: &Cells, new: &Cells, i: usize) -> bool {
    old[i] == new[i] && new[i].as_ref().is_some_and(|v| v.len() > TOASTED)
}

/// The old tuple: whole, or the key with nulls for the rest.
fn old_tuple(out: &mut BytesMut, table: &TableSpec, old: &Cells) {
    let full = table.identity == b'f';
    out.put_u8(if full { b'O' } else { b'K' });
    tuple(out, old, |i| if full || table.columns[i].2 { Sent::Value } else { Sent::Null });
}

pub(crate) fn change(op: &Op) -> Bytes {
    let mut out = BytesMut::new();
    match op {
        Op::Insert { table, new, .. } => {
            out.put_u8(b'I');
            out.put_u32(TABLES[*table].oid);
            out.put_u8(b'N');
            tuple(&mut out, new, |_| Sent::Value);
        }
        Op::Update { table, old, new, .. } => {
            let spec = &TABLES[*table];
            out.put_u8(b'U');
            out.put_u32(spec.oid);
            let key_moved = (0..old.len()).any(|i| spec.columns[i].2 && old[i] != new[i]);
            if spec.identity == b'f' || key_moved {
                old_tuple(&mut out, spec, old);
            }
            out.put_u8(b'N');
            tuple(&mut out, new, |i| if unchanged(old, new, i) { Sent::Unchanged } else { Sent::Value });
        }
        Op::Delete { table, old, .. } => {
            out.put_u8(b'D');
            out.put_u32(TABLES[*table].oid);
            old_tuple(&mut out, &TABLES[*table], old);
        }
        Op::Truncate { table } => {
            out.put_u8(b'T');
            out.put_u32(1);
            out.put_u8(0);
            out.put_u32(TABLES[*table].oid);
        }
    }
    out.freeze()
}
