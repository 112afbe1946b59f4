//! A column's text → JSON, as Postgres' `to_jsonb(col)::text` writes it, byte for byte. Pure. Knows no tables.
//!
//! It never fails: text that is not what its type says (the catalog may be newer than the WAL) becomes a JSON string.
//! Two things cannot be had from text alone: composite values, and types with a cast to json of their own (hstore);
//! both are rendered as their text, in a string.
mod array;
mod decimal;
mod json;

use crate::domain::TypeKind;
use bytes::Bytes;

/// Renders one value. Numbers and normal JSON are slices of `text`; nothing is copied.
pub fn render(kind: &TypeKind, text: &Bytes) -> Bytes {
    match kind {
        TypeKind::Integer | TypeKind::Float | TypeKind::Numeric if decimal::is_plain(text) => text.clone(),
        _ => {
            let mut out = Vec::with_capacity(text.len() + 8);
            write(kind, text, &mut out);
            out.into()
        }
    }
}

fn boolean(text: &[u8]) -> Option<&'static [u8]> {
    match text {
        b"t" => Some(b"true"),
        b"f" => Some(b"false"),
        _ => None,
    }
}

fn write(kind: &TypeKind, text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let done = match kind {
        TypeKind::Bool => boolean(text).map(|word| out.extend_from_slice(word)),
        TypeKind::Integer | TypeKind::Float | TypeKind::Numeric => decimal::write(text, out),
        TypeKind::Timestamp | TypeKind::TimestampTz => {
            string(&iso(text, *kind == TypeKind::TimestampTz), out);
            Some(())
        }
        TypeKind::Json => json::write(text, out),
        TypeKind::Array(element, delimiter) => array::write(text, element, *delimiter, out),
        TypeKind::Text | TypeKind::Other => None,
    };
    if done.is_none() {
        out.truncate(start);
        string(text, out);
    }
}

/// `2026-02-14 10:30:00+00 BC` → `2026-02-14T10:30:00+00:00 BC`; `infinity` stays.
fn iso(text: &[u8], with_offset: bool) -> Vec<u8> {
    let mut iso = text.to_vec();
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let Some(space) = text.iter().position(|b| *b == b' ') else { return iso };
    if space == 0 || !digit(space - 1) || !digit(space + 1) {
        return iso;
    }
    iso[space] = b'T';
    let end = text[space + 1..].iter().position(|b| *b == b' ').map_or(text.len(), |at| space + 1 + at);
    let sign = (space..end).rev().find(|at| matches!(text[*at], b'+' | b'-'));
    if with_offset && sign.is_some_and(|sign| !text[sign..end].contains(&b':')) {
        iso.splice(end..end, *b":00");
    }
    iso
}

/// A JSON string, escaped as Postgres' `escape_json` does. Bytes that are no UTF-8 (an `SQL_ASCII` database) are
/// replaced, for JSON cannot hold them.
fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match std::str::from_utf8(text) {
        Ok(_) => escaped(text, out),
        Err(_) => escaped(String::from_utf8_lossy(text).as_bytes(), out),
    }
    out.push(b'"');
}

fn escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            0x0C => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let hex = |nibble: u8| HEX[usize::from(nibble & 15)];
            out.extend_from_slice(&[b'0', b'0', hex(byte >> 4), hex(*byte)]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests;
