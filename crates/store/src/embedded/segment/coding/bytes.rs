//! Runs of bytes, compressed where it pays, and reading them back without trust.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Bytes that are not what a writer of this version writes; the text says what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) &'static str);

/// A compressor and a decompressor that are used again and again: making one costs more than a column.
pub(crate) struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

/// Decompressors that no one uses at the moment: one takes 150 KiB, and longer to make than a block to read.
static SPARE: Mutex<Vec<Zstd>> = Mutex::new(Vec::new());
const MOST_SPARE: usize = 8;

/// A [`Zstd`] for reading, given back when dropped.
pub(in crate::embedded::segment) struct Borrowed(Option<Zstd>);

impl Borrowed {
    pub(in crate::embedded::segment) fn take() -> io::Result<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self(Some(spare.map_or_else(|| Zstd::new(1), Ok)?)))
    }
}

impl Deref for Borrowed {
    type Target = Zstd;

    fn deref(&self) -> &Zstd {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Zstd {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            spare.extend(self.0.take());
        }
    }
}

impl Zstd {
    /// Compresses at a level; 1 is fast.
    pub(crate) fn new(level: i32) -> io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(level)?, decompressor: zstd::bulk::Decompressor::new()? })
    }
}

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const SAME: u8 = 2;

/// Below this, a compressed frame's header takes what compression gains.
const WORTH_COMPRESSING_BYTES: usize = 48;

/// Appends bytes: a tag, their number, and how the tag says.
pub(in crate::embedded::segment) fn put_bytes(zstd: &mut Zstd, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(first) = bytes.first()
        && bytes.len() > 1
        && bytes.iter().all(|byte| byte == first)
    {
        out.push(SAME);
        put_varint(out, bytes.len() as u64);
        out.push(*first);
        return;
    }
    if bytes.len() >= WORTH_COMPRESSING_BYTES {
        out.push(ZSTD);
        put_varint(out, bytes.len() as u64);
        // Room for the compressed length, which is known only afterwards.
        let prefix = out.len();
        out.extend_from_slice(&[0; 4]);
        let frame = out.len();
        out.resize(frame + bytes.len(), 0);
        // A frame that is not smaller does not fit and is an error, as is every other failure: raw is always right.
        let target = out.get_mut(frame..).unwrap_or_default();
        if let Ok(written) = zstd.compressor.compress_to_buffer(bytes, target)
            && written + written / 32 < bytes.len()
        {
            out.truncate(frame + written);
            out[prefix..frame].copy_from_slice(&(written as u32).to_le_bytes());
            return;
        }
        out.truncate(start);
    }
    out.push(RAW);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`put_bytes`] wrote, at most so many bytes.
pub(in crate::embedded::segment) fn get_bytes(
    zstd: &mut Zstd,
    input: &mut Input<'_>,
    most: usize,
) -> Result<Vec<u8>, Damaged> {
    let tag = input.byte()?;
    let length = input.size(most)?;
    match tag {
        RAW => Ok(input.take(length)?.to_vec()),
        SAME => Ok(vec![input.byte()?; length]),
        ZSTD => {
            let compressed = input.u32()? as usize;
            let frame = input.take(compressed)?;
            let bytes =
                zstd.decompressor.decompress(frame, length).map_err(|_| Damaged("a compressed run does not expand"))?;
            if bytes.len() == length { Ok(bytes) } else { Err(Damaged("a compressed run has another length")) }
        }
        _ => Err(Damaged("a run of bytes has an unknown tag")),
    }
}

/// Appends a number, seven bits a byte, the lowest first.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged("cut off"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Damaged("cut off"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for place in 0..10 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged("a number is too long"))
    }

    /// A number that sizes something, so that damage cannot ask for all of memory.
    pub(crate) fn size(&mut self, most: usize) -> Result<usize, Damaged> {
        let size = self.varint()?;
        usize::try_from(size).ok().filter(|size| *size <= most).ok_or(Damaged("a size is out of bounds"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.size(usize::MAX)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged("a text is not UTF-8"))
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.size(usize::MAX)?;
        self.take(length)
    }
}
