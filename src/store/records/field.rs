//! The fields that journal, index and checkpoint are made of: little-endian, length-prefixed. Knows no record.
//!
//! Reading never trusts a length: whatever is missing is `Malformed`, never a panic.
use bytes::Bytes;

/// Bytes that are not what we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(in crate::store) struct Malformed(pub(in crate::store) &'static str);

/// Appends fields.
#[derive(Debug, Default)]
pub(in crate::store) struct Writer(pub(in crate::store) Vec<u8>);

impl Writer {
    pub(in crate::store) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }
    pub(in crate::store) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub(in crate::store) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub(in crate::store) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub(in crate::store) fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub(in crate::store) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// With its length before it.
    pub(in crate::store) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(bytes.len() as u32).raw(bytes)
    }
    pub(in crate::store) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }
    /// A flag, then the value if there is one.
    pub(in crate::store) fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                put(self, value)
            }
        }
    }
}

/// Takes fields off the front.
#[derive(Debug, Clone)]
pub(in crate::store) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::store) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
    pub(in crate::store) fn left(&self) -> usize {
        self.rest.len()
    }
    pub(in crate::store) fn raw(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed("length"))?;
        self.rest = rest;
        Ok(head)
    }
    pub(in crate::store) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("length"))?;
        self.rest = rest;
        Ok(*head)
    }
    pub(in crate::store) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    pub(in crate::store) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub(in crate::store) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(in crate::store) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub(in crate::store) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    pub(in crate::store) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }
    pub(in crate::store) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        self.raw(len)
    }
    pub(in crate::store) fn shared(&mut self) -> Result<Bytes, Malformed> {
        Ok(Bytes::copy_from_slice(self.bytes()?))
    }
    pub(in crate::store) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text"))
    }
    pub(in crate::store) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { take(self).map(Some) } else { Ok(None) }
    }
    /// Nothing may be left over.
    pub(in crate::store) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("end")) }
    }
}
