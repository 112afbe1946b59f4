//! JSON text → the same as `jsonb` would write it: keys ordered by length, then bytes; the last of equal keys wins; one
//! space after `:` and `,`; escapes only where needed; numbers without exponents.
//!
//! What `jsonb` cannot hold although `json` can (`\u0000`, lone surrogates, huge exponents), and what nests deeper than
//! we follow, stays as it was written.
use super::{decimal, escaped};
use crate::fault;
use std::borrow::Cow;
use std::ops::Range;

/// We follow this many levels.
const MAX_DEPTH: usize = 200;

/// Writes the value; `None` when the text is no JSON.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    // exponents can make a short text long: no more than this
    let budget = start + text.len() * 16 + (1 << 20);
    let mut reader = JsonReader { rest: std::str::from_utf8(text).ok()?.as_bytes(), budget };
    if reader.value(MAX_DEPTH, out).is_some() && reader.space().is_empty() {
        return Some(());
    }
    out.truncate(start);
    let verbatim: &serde_json::value::RawValue = serde_json::from_slice(text).ok()?;
    out.extend_from_slice(verbatim.get().as_bytes());
    Some(())
}

struct JsonReader<'a> {
    rest: &'a [u8],
    budget: usize,
}

/// A member as it was written: its key, and where it stands.
type JsonMember<'a> = (Cow<'a, [u8]>, Range<usize>);

fn order(key: &[u8]) -> (usize, &[u8]) {
    (key.len(), key)
}

impl<'a> JsonReader<'a> {
    /// Skips white space; what follows.
    fn space(&mut self) -> &'a [u8] {
        let blank = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b'\n' | b'\r');
        self.rest = &self.rest[self.rest.iter().take_while(blank).count()..];
        self.rest
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Skips white space; takes the byte if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        let there = self.space().first() == Some(&byte);
        if there {
            self.rest = &self.rest[1..];
        }
        there
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let deep = depth == 0 && !fault::planted("depth-believed");
        (!deep && out.len() <= self.budget).then_some(())?;
        match self.space().first()? {
            b'{' => self.object(depth, out),
            b'[' => self.array(depth, out),
            b'"' => {
                let text = self.string()?;
                quoted(&text, out);
                Some(())
            }
            b't' => self.word(b"true", out),
            b'f' => self.word(b"false", out),
            b'n' => self.word(b"null", out),
            _ => self.number(out),
        }
    }

    fn word(&mut self, word: &[u8], out: &mut Vec<u8>) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        out.extend_from_slice(word);
        Some(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let part = |byte: &&u8| matches!(**byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let (text, rest) = self.rest.split_at(self.rest.iter().take_while(part).count());
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let strict = match digits {
            [] | [b'0', b'0'..=b'9', ..] => false,
            [first, .., last] => first.is_ascii_digit() && last.is_ascii_digit(),
            [only] => only.is_ascii_digit(),
        };
        // JSON wants a digit on both sides of the point
        let point_fits = !digits.windows(2).any(|pair| pair[0] == b'.' && !pair[1].is_ascii_digit());
        self.rest = rest;
        if strict && point_fits { decimal::write(text, out) } else { None }
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        self.take()?;
        out.push(b'[');
        if !self.takes(b']') {
            loop {
                self.value(depth - 1, out)?;
                if self.takes(b']') {
                    break;
                }
                self.takes(b',').then(|| out.extend_from_slice(b", "))?;
            }
        }
        out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        self.take()?;
        let start = out.len();
        let mut members: Vec<JsonMember<'a>> = Vec::new();
        let mut ordered = true;
        out.push(b'{');
        if !self.takes(b'}') {
            loop {
                let (key, range) = self.member(depth, out)?;
                ordered &= members.last().is_none_or(|(last, _)| order(last) < order(&key));
                members.push((key, range));
                if self.takes(b'}') {
                    break;
                }
                self.takes(b',').then(|| out.extend_from_slice(b", "))?;
            }
        }
        if !ordered {
            rearrange(start, members, out);
        }
        out.push(b'}');
        Some(())
    }

    fn member(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<JsonMember<'a>> {
        (self.space().first()? == &b'"').then_some(())?;
        let key = self.string()?;
        let start = out.len();
        quoted(&key, out);
        self.takes(b':').then(|| out.extend_from_slice(b": "))?;
        self.value(depth - 1, out)?;
        Some((key, start..out.len()))
    }

    /// A string's characters; borrowed when it has no escapes.
    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        self.take()?;
        let stop = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..0x20);
        let (plain, rest) = self.rest.split_at(self.rest.iter().position(stop)?);
        self.rest = rest;
        if rest.first() == Some(&b'"') {
            self.take()?;
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            match self.take()? {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => self.escape(&mut text)?,
                0..0x20 => return None,
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = match self.take()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).filter(|character| *character != '\0');
        }
        (self.take()? == b'\\' && self.take()? == b'u').then_some(())?;
        let second = self.hex()?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |number, _| Some(number << 4 | char::from(self.take()?).to_digit(16)?))
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Puts an object's members (written after the brace at `start`) in order; of equal keys the last stays.
fn rearrange(start: usize, mut members: Vec<JsonMember<'_>>, out: &mut Vec<u8>) {
    members.reverse();
    members.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    members.dedup_by(|(later, _), (kept, _)| later == kept);
    let written = out.split_off(start + 1);
    for (number, (_, range)) in members.into_iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&written[range.start - start - 1..range.end - start - 1]);
    }
}
