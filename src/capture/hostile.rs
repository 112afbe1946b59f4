//! What a server could send, against the decoders: calls and what must hold of their answers, for `fuzz/` and
//! `tests/corpora`. Knows no fuzzer. Panics on purpose, where a promise is broken.
use crate::capture::Frame;
use crate::capture::decode::pgoutput::{Message, OldTuple, Tuple, TupleValue, decode};
use crate::capture::decode::transaction::{Assembler, Step};
use crate::capture::decode::value;
use crate::capture::wire::frames;
use crate::domain::{Cell, Column, Lsn, ReplicaIdentity, Table, TypeKind};
use bytes::{Buf, Bytes, BytesMut};
use serde_json::value::RawValue;

/// Longest message of the server, and largest transaction.
const LIMIT: usize = 1 << 20;

/// Pgoutput messages, each after its length in two bytes, to one connection's assembler.
pub fn pgoutput(data: &[u8]) {
    let mut assembler = Assembler::new(LIMIT);
    let mut rest = Bytes::copy_from_slice(data);
    for number in 0.. {
        let Ok(length) = rest.try_get_u16() else { break };
        let message = rest.split_to(rest.len().min(usize::from(length)));
        match decode(message.clone()) {
            Ok(decoded) => assert!(cells(&decoded) <= message.len(), "cells are slices of the message"),
            Err(error) => assert!(error.at <= message.len(), "{error}"),
        }
        match assembler.feed(Lsn(number), message) {
            Ok(Step::Describe(oid)) => {
                let table = assembler.described(&catalog(oid)).expect("it was asked for");
                assert!(table.primary_key.iter().all(|at| *at < table.columns.len()));
            }
            Ok(Step::Transaction(transaction)) => {
                assert!(transaction.end_lsn >= transaction.commit_lsn);
                for change in &transaction.changes {
                    for image in [&change.old, &change.new].into_iter().flatten() {
                        assert_eq!(image.len(), change.table.columns.len());
                        image.iter().for_each(is_json);
                    }
                }
            }
            Ok(Step::Nothing) => {}
            // the connection ends here
            Err(_) => break,
        }
    }
}

/// What the cells of a message hold.
fn cells(message: &Message) -> usize {
    let length = |tuple: &Tuple| -> usize {
        let of = |value: &TupleValue| match value {
            TupleValue::Text(bytes) | TupleValue::Binary(bytes) => bytes.len(),
            TupleValue::Null | TupleValue::Unchanged => 0,
        };
        tuple.iter().map(of).sum()
    };
    let old = |old: &OldTuple| match old {
        OldTuple::Key(tuple) | OldTuple::Row(tuple) => length(tuple),
    };
    match message {
        Message::Insert { new, .. } => length(new),
        Message::Update { old: before, new, .. } => before.as_ref().map_or(0, old) + length(new),
        Message::Delete { old: before, .. } => old(before),
        _ => 0,
    }
}

/// What the catalog says: nothing of odd relations, which are gone by now.
fn catalog(oid: u32) -> Table {
    let kinds = [("id", TypeKind::Integer), ("total", TypeKind::Numeric), ("meta", TypeKind::Json)];
    let column = |(name, kind): (&str, TypeKind)| Column {
        name: name.into(),
        kind,
        type_oid: 0,
        type_name: String::new(),
        not_null: false,
    };
    let gone = oid % 2 == 1;
    Table {
        oid,
        schema: "public".into(),
        name: "invoices".into(),
        columns: if gone { Vec::new() } else { kinds.into_iter().map(column).collect() },
        primary_key: if gone { Vec::new() } else { vec![0] },
        replica_identity: ReplicaIdentity::Default,
    }
}

fn is_json(cell: &Cell) {
    if let Cell::Json(json) = cell {
        assert!(serde_json::from_slice::<&RawValue>(json).is_ok(), "{json:?} is no JSON");
    }
}

/// A server's bytes after the login, as they come from the socket; then each body as every other kind of message.
pub fn replication(data: &[u8]) {
    let whole = packets(&[data]);
    let (before, after) = data.split_at(data.len() / 2);
    assert_eq!(whole, packets(&[before, after]), "where a read ends does not matter");
    let taken: usize = whole.iter().map(|packet| packet.body.len() + 5).sum();
    assert!(taken <= data.len());
    for packet in whole {
        let body = packet.body;
        match frames::frame(body.clone()) {
            Ok(Frame::Wal { data, .. }) => assert_eq!(data[..], body[25..]),
            Ok(Frame::Keepalive { .. }) => assert_eq!(body.len(), 18),
            Err(_) => {}
        }
        if let Some(row) = frames::row(body.clone()) {
            // a byte that is no UTF-8 becomes three
            let text: usize = row.iter().flatten().map(String::len).sum();
            assert!(text <= body.len() * 3);
        }
        assert!(frames::server_error(body.clone()).to_string().len() <= body.len() * 3 + 8);
        let lines = frames::timeline_history(&String::from_utf8_lossy(&body));
        assert!(lines.len() <= body.len());
    }
}

fn packets(parts: &[&[u8]]) -> Vec<frames::Packet> {
    let (mut buffer, mut packets) = (BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        while let Ok(Some(packet)) = frames::split(&mut buffer, LIMIT) {
            packets.push(packet);
        }
    }
    packets
}

/// A column's text; the first byte says of which type, and whether an array of it.
pub fn rendering(data: &[u8]) {
    let Some((pick, text)) = data.split_first() else { return };
    let kinds = [
        TypeKind::Bool,
        TypeKind::Integer,
        TypeKind::Float,
        TypeKind::Numeric,
        TypeKind::Timestamp,
        TypeKind::TimestampTz,
        TypeKind::Json,
        TypeKind::Text,
        TypeKind::Other,
    ];
    let kind = kinds[usize::from(*pick) % kinds.len()].clone();
    let kind = match pick / 16 % 4 {
        0 => kind,
        1 => TypeKind::Array(Box::new(kind), b';'),
        _ => TypeKind::Array(Box::new(kind), b','),
    };
    let text = Bytes::copy_from_slice(text);
    let json = value::render(&kind, &text);
    is_json(&Cell::Json(json.clone()));
    assert!(json.len() <= text.len() * 64 + (2 << 20), "{} bytes of {}", json.len(), text.len());
    match kind {
        TypeKind::Json if json.first() != Some(&b'"') => {
            assert_eq!(value::render(&kind, &json), json, "what was rendered once is normal");
        }
        TypeKind::Text | TypeKind::Other => {
            let read: String = serde_json::from_slice(&json).expect("a string");
            assert_eq!(read, String::from_utf8_lossy(&text));
        }
        _ => {}
    }
}
