//! Protobuf's wire format: reading fields of untrusted bytes, and writing them.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// A field's payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, in the order they were written.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and payload; `None` at the end of the message.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Broken("a field number is too large"))?;
        if number == 0 {
            return Err(Broken("a field has the number 0"));
        }
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Broken("a length is too large"))?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Broken("a length points past the end"))?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            3 | 4 => return Err(Broken("groups are not supported")),
            _ => return Err(Broken("a wire type is unknown")),
        };
        Ok(Some((number, payload)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Broken> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f).wrapping_shl(7 * place as u32);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { Broken("a number is cut off") } else { Broken("a number is too long") })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Broken("a fixed-size field is cut off"))?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a varint field unless it is zero, which is what an absent field means.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, number);
    }
}

/// Appends a fixed64 field unless it is zero.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, u64::from(field) << 3 | 1);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a fixed32 field unless it is zero.
pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, number: u32) {
    if number != 0 {
        put_varint(out, u64::from(field) << 3 | 5);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a length-delimited field, even if it is empty.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a string field unless it is empty.
pub(crate) fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

/// Appends a message that `write` fills, whose length is known only afterwards.
pub(crate) fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(field) << 3 | 2);
    let start = out.len();
    write(out);
    let length = out.len() - start;
    let mut prefix = [0; 10];
    let mut used = 0;
    let mut number = length as u64;
    while number >= 0x80 {
        prefix[used] = number as u8 | 0x80;
        number >>= 7;
        used += 1;
    }
    prefix[used] = number as u8;
    used += 1;
    out.extend_from_slice(&prefix[..used]);
    out[start..].rotate_right(used);
}
