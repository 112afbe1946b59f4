//! Array text → a JSON array (<https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO>): nested, quoted, `NULL`, and
//! with lower bounds, which JSON does not have.
use crate::domain::TypeKind;

/// Most dimensions that an array can have: `MAXDIM`.
const MAX_DEPTH: usize = 6;
/// The smallest and the largest float are 44 times as long without their exponent; nothing that is an array grows by more.
const MOST_GROWTH: usize = 64;

/// Writes the array; `None` when the text is none.
pub(super) fn write(text: &[u8], element: &TypeKind, delimiter: u8, out: &mut Vec<u8>) -> Option<()> {
    let rest = match text.first()? {
        b'[' => &text[text.iter().position(|byte| *byte == b'=')? + 1..],
        _ => text,
    };
    let budget = out.len() + text.len() * MOST_GROWTH + (1 << 20);
    let mut reader = ArrayReader { rest, element, delimiter, budget };
    reader.array(MAX_DEPTH, out)?;
    reader.rest.is_empty().then_some(())
}

struct ArrayReader<'a> {
    rest: &'a [u8],
    element: &'a TypeKind,
    delimiter: u8,
    budget: usize,
}

impl ArrayReader<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        (depth > 0 && self.take()? == b'{').then_some(())?;
        out.push(b'[');
        if self.rest.first() == Some(&b'}') {
            self.take()?;
            out.push(b']');
            return Some(());
        }
        loop {
            (out.len() <= self.budget).then_some(())?;
            match self.rest.first()? {
                b'{' => self.array(depth - 1, out)?,
                b'"' => self.quoted(out)?,
                _ => self.bare(out)?,
            }
            match self.take()? {
                b'}' => break,
                byte if byte == self.delimiter => out.extend_from_slice(b", "),
                _ => return None,
            }
        }
        out.push(b']');
        Some(())
    }

    fn quoted(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.take()?;
        let mut text = Vec::new();
        loop {
            match self.take()? {
                b'"' => break,
                b'\\' => text.push(self.take()?),
                byte => text.push(byte),
            }
        }
        super::write(self.element, &text, out);
        Some(())
    }

    fn bare(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let ends = |byte: &u8| *byte == self.delimiter || *byte == b'}';
        let (text, rest) = self.rest.split_at(self.rest.iter().position(ends)?);
        self.rest = rest;
        match text {
            [] => return None,
            text if text.eq_ignore_ascii_case(b"NULL") => out.extend_from_slice(b"null"),
            text => super::write(self.element, text, out),
        }
        Some(())
    }
}
