//! What is remembered of rows so that transitions work without old tuples: which columns, and how they are written.
//! Knows no rows' history (`rows`) and no store.
//!
//! A row's memory is (encoded primary key → encoded tracked columns). The encoding has no version and no column names:
//! the plan's text is kept with the history it belongs to (`store::Identity`).
use crate::domain::{Cell, Operation, Table};
use crate::mapping::rules::Rule;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NULL: u8 = 0;
const NOT_SENT: u8 = 1;
const JSON: u8 = 2;
const UUID: u8 = 3;
/// Before a line's generation, where it has one.
const GENERATION: char = ';';

/// What is remembered of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// `schema.table`
    pub table: Arc<str>,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Tracked columns, sorted; the order of the encoding.
    pub columns: Vec<Arc<str>>,
}

/// What is remembered at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    tables: BTreeMap<Arc<str>, TablePlan>,
}

impl Plan {
    /// Tables where a rule looks at old values or listens to deletes.
    pub(in crate::mapping) fn of(rules: &[Rule]) -> Self {
        let mut columns: BTreeMap<&Arc<str>, BTreeSet<&Arc<str>>> = BTreeMap::new();
        for rule in rules.iter().filter(|rule| rule.needs_old()) {
            columns.entry(&rule.table).or_default();
        }
        let listens = |rule: &&Rule| rule.hears(Operation::Update) || rule.hears(Operation::Delete);
        for rule in rules.iter().filter(listens) {
            if let Some(columns) = columns.get_mut(&rule.table) {
                columns.extend(rule.remembered());
            }
        }
        let tables = columns.into_iter().map(|(table, columns)| {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let plan = TablePlan {
                table: Arc::clone(table),
                schema: schema.to_owned(),
                name: name.to_owned(),
                columns: columns.into_iter().cloned().collect(),
            };
            (Arc::clone(table), plan)
        });
        Self { tables: tables.collect() }
    }
    /// The tables, sorted by name. The first snapshot reads each one's primary key and `columns`.
    pub fn tables(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.values()
    }
    /// One table's plan.
    pub fn table(&self, table: &str) -> Option<&TablePlan> {
        self.tables.get(table)
    }
    /// Canonical text, one line a table: `public.invoices: status,tenant_id`. Two plans remember the same if and only if
    /// their texts are equal.
    pub fn text(&self) -> String {
        self.tables.values().map(|plan| plan.line(0) + "\n").collect()
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// `schema.table`
    pub table: String,
    /// The columns that rows under it were encoded with.
    pub columns: Vec<Arc<str>>,
    /// How often the table had been filled anew.
    pub generation: u32,
}

/// A line of `TablePlan::line` back to what it says; `None` if it is none.
pub fn parse_line(line: &str) -> Option<PlanLine> {
    let mut names = Vec::new();
    let mut rest = line;
    let generation = loop {
        let (name, after) = take_name(rest)?;
        names.push(name);
        rest = match after.strip_prefix(if names.len() == 1 { ": " } else { "," }) {
            Some(more) => more,
            None if after.is_empty() => break 0,
            None => break after.strip_prefix(GENERATION)?.parse().ok()?,
        };
    };
    let table = names.remove(0);
    Some(PlanLine { table, columns: names.into_iter().map(Arc::from).collect(), generation })
}

fn take_name(text: &str) -> Option<(String, &str)> {
    if !text.starts_with('"') {
        let end = text.find([':', ',', GENERATION]).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    }
    let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = names.next()?.ok()?;
    Some((name, text.get(names.byte_offset()..)?))
}

impl TablePlan {
    /// The line that rows lie under: it says how they were encoded, and after how many fills anew.
    pub fn line(&self, generation: u32) -> String {
        let mut text = String::new();
        push_name(&mut text, &self.table, true);
        for (at, column) in self.columns.iter().enumerate() {
            text.push_str(if at == 0 { ": " } else { "," });
            push_name(&mut text, column, false);
        }
        if generation > 0 {
            text.push(GENERATION);
            text.push_str(&generation.to_string());
        }
        text
    }
    /// Bytes that were encoded with other `columns`, in this plan's encoding; what they lack is not known.
    pub fn translate(&self, columns: &[Arc<str>], bytes: &Bytes) -> Option<Bytes> {
        let cells = decode_cells(bytes, columns.len())?;
        let cell_of = |name: &Arc<str>| columns.iter().position(|c| c == name).and_then(|at| cells.get(at));
        Some(encode(self.columns.iter().map(|name| cell_of(name).unwrap_or(&Cell::NotSent))))
    }
    /// What is known of a row: `above`, and of what was not sent of it, `below`. Bytes of another plan are as good as none.
    pub fn over(&self, below: &Bytes, above: &Bytes) -> Bytes {
        let (Some(below), Some(above)) = (self.decode(below), self.decode(above)) else {
            return above.clone();
        };
        let known = above.iter().zip(&below);
        encode(known.map(|(above, below)| if *above == Cell::NotSent { below } else { above }))
    }
    /// Encodes a row of the snapshot: values of the primary key's columns in key order, and of `columns` in plan order,
    /// rendered just as the stream renders them. `None`: the key has a NULL or the counts are wrong.
    pub fn encode_row(&self, key: &[Cell], columns: &[Cell]) -> Option<(Bytes, Bytes)> {
        (columns.len() == self.columns.len()).then(|| Some((encode_key(key)?, encode_cells(columns))))?
    }
    /// The tracked cells of an image.
    pub(in crate::mapping) fn encode_image(&self, table: &Table, image: &[Cell]) -> Bytes {
        let tracked = self.columns.iter().map(|column| {
            let at = table.position(column);
            at.and_then(|at| image.get(at)).unwrap_or(&Cell::NotSent)
        });
        encode(tracked)
    }
    /// Back to cells in plan order; `None` if the bytes are not of this plan.
    pub(in crate::mapping) fn decode(&self, bytes: &Bytes) -> Option<Vec<Cell>> {
        decode_cells(bytes, self.columns.len())
    }
}

fn push_name(text: &mut String, name: &str, dots: bool) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || (dots && c == '.');
    if name.chars().all(plain) {
        text.push_str(name);
    } else {
        text.push_str(&serde_json::Value::from(name).to_string());
    }
}

/// Encodes a primary key; `None` when it is empty or a value is NULL or not sent.
pub(in crate::mapping) fn encode_key(cells: &[Cell]) -> Option<Bytes> {
    let whole = !cells.is_empty() && cells.iter().all(|cell| matches!(cell, Cell::Json(_)));
    whole.then(|| encode_cells(cells))
}

/// Encodes cells one after another.
pub(in crate::mapping) fn encode_cells(cells: &[Cell]) -> Bytes {
    encode(cells.iter())
}

fn encode<'a>(cells: impl Iterator<Item = &'a Cell>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    for cell in cells {
        match cell {
            Cell::Null => out.put_u8(NULL),
            Cell::NotSent => out.put_u8(NOT_SENT),
            Cell::Json(json) => {
                if let Some(uuid) = uuid_of(json) {
                    out.put_u8(UUID);
                    out.put_slice(&uuid);
                } else {
                    out.put_u8(JSON);
                    put_length(&mut out, json.len());
                    out.put_slice(json);
                }
            }
        }
    }
    out.freeze()
}

/// Exactly `count` cells; `None` on anything else. Never panics.
pub(in crate::mapping) fn decode_cells(bytes: &Bytes, count: usize) -> Option<Vec<Cell>> {
    let mut rest = bytes.clone();
    let mut cells = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let tag = *rest.first()?;
        rest = rest.slice(1..);
        cells.push(match tag {
            NULL => Cell::Null,
            NOT_SENT => Cell::NotSent,
            JSON => {
                let length = take_length(&mut rest)?;
                (rest.len() >= length).then(|| Cell::Json(rest.split_to(length)))?
            }
            UUID => {
                let raw: [u8; 16] = rest.get(..16)?.try_into().ok()?;
                rest = rest.slice(16..);
                Cell::Json(Bytes::from(format!("\"{}\"", uuid::Uuid::from_bytes(raw)).into_bytes()))
            }
            _ => return None,
        });
    }
    rest.is_empty().then_some(cells)
}

/// The bytes of a UUID string, only if it is written as Postgres writes it, so that decoding gives the same text.
fn uuid_of(json: &[u8]) -> Option<[u8; 16]> {
    let inner = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let hyphens = [8, 13, 18, 23];
    let canonical = inner.len() == 36
        && inner.iter().enumerate().all(|(at, byte)| match byte {
            b'-' => hyphens.contains(&at),
            b'0'..=b'9' | b'a'..=b'f' => !hyphens.contains(&at),
            _ => false,
        });
    if !canonical {
        return None;
    }
    uuid::Uuid::try_parse_ascii(inner).ok().map(uuid::Uuid::into_bytes)
}

/// LEB128.
fn put_length(out: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    let mut length = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = *rest.first()?;
        *rest = rest.slice(1..);
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Cell {
        Cell::Json(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn cells_come_back_as_they_were() {
        let cells = vec![
            Cell::Null,
            Cell::NotSent,
            json("\"0192f0c1-0000-8000-8000-0123456789ab\""),
            json("\"0192F0C1-0000-8000-8000-0123456789AB\""),
            json("12.50"),
            json(""),
            json(&format!("\"{}\"", "é".repeat(300))),
        ];
        let encoded = encode_cells(&cells);
        assert_eq!(decode_cells(&encoded, cells.len()), Some(cells.clone()));
        assert_eq!(decode_cells(&encoded, cells.len() - 1), None);
        assert_eq!(decode_cells(&encoded, cells.len() + 1), None);
        assert_eq!(decode_cells(&encoded.slice(..encoded.len() - 1), cells.len()), None);
        assert_eq!(encode_cells(&cells[2..3]).len(), 17, "a uuid takes 17 bytes");
        for length in [126, 127, 128, 200, 16_383, 16_384, 16_600] {
            let cells = vec![json(&"1".repeat(length)), Cell::Null];
            assert_eq!(decode_cells(&encode_cells(&cells), 2), Some(cells), "{length} bytes");
        }
    }

    #[test]
    fn a_line_comes_back_and_old_rows_are_translated() {
        let plan = |columns: &[&str]| TablePlan {
            table: Arc::from("public.odd \"one\", é"),
            schema: "public".into(),
            name: "odd \"one\", é".into(),
            columns: columns.iter().map(|c| Arc::from(*c)).collect(),
        };
        let (old, new) = (plan(&["a", "b,c"]), plan(&["b,c", "d"]));
        for generation in [0, 1, 70] {
            let said = PlanLine { table: old.table.to_string(), columns: old.columns.clone(), generation };
            assert_eq!(parse_line(&old.line(generation)), Some(said));
        }
        let parsed = |line| parse_line(line).map(|said| (said.table, said.columns.len(), said.generation));
        assert_eq!(parsed("public.t"), Some(("public.t".into(), 0, 0)));
        assert_eq!(parsed("public.t;3"), Some(("public.t".into(), 0, 3)));
        assert_eq!(parsed("public.t: x,y"), Some(("public.t".into(), 2, 0)));
        for none in ["", "t: ", "\"t", "t,a", "t: a: b", "\"t\"a", "t;", "t;x", "t: a;1,b"] {
            assert_eq!(parse_line(none), None, "{none}");
        }
        let bytes = encode_cells(&[json("1"), json("2")]);
        assert_eq!(new.translate(&old.columns, &bytes), Some(encode_cells(&[json("2"), Cell::NotSent])));
        assert_eq!(new.translate(&old.columns[..1], &bytes), None);
    }

    #[test]
    fn a_key_is_whole_or_none() {
        assert_eq!(encode_key(&[]), None);
        assert_eq!(encode_key(&[json("1"), Cell::Null]), None);
        assert_eq!(encode_key(&[json("1"), Cell::NotSent]), None);
        assert_ne!(encode_key(&[json("1"), json("12")]), encode_key(&[json("11"), json("2")]));
    }

    proptest! {
        #![proptest_config(crate::mapping::tests::steady())]

        #[test]
        fn decoding_survives_any_bytes(bytes in any::<Vec<u8>>(), count in 0_usize..9) {
            let bytes = Bytes::from(bytes);
            if let Some(cells) = decode_cells(&bytes, count) {
                prop_assert_eq!(decode_cells(&encode_cells(&cells), count), Some(cells));
            }
        }
        #[test]
        fn any_cells_survive_encoding(cells in proptest::collection::vec(proptest::option::of(any::<Vec<u8>>()), 0..6)) {
            let cells: Vec<Cell> = cells.into_iter().map(|c| c.map_or(Cell::Null, |b| Cell::Json(b.into()))).collect();
            prop_assert_eq!(decode_cells(&encode_cells(&cells), cells.len()), Some(cells));
        }
    }
}
