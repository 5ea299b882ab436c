//! A segment as an object: read in pieces, through the cache, and uploaded in parts.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, PutMode};

use super::client::PutError;
use super::objects::{Shared, key};
use crate::embedded::disk::{ReadFile, WriteFile};

/// How many pieces one request reads at most.
const MOST_PIECES: u64 = 16;

/// A segment that is read in pieces, through the cache.
pub(super) struct Object {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    pub(super) length_bytes: u64,
    /// Whether the bucket is read even before it is claimed.
    pub(super) is_read_unclaimed: bool,
}

impl Object {
    /// Reads pieces from the bucket and holds them; returns their bytes.
    fn fetch(&self, pieces: Range<u64>) -> io::Result<Bytes> {
        if !self.is_read_unclaimed {
            self.shared.check_readable()?;
        }
        let piece_bytes = self.shared.bucket.sizes.piece_bytes as u64;
        let range = pieces.start * piece_bytes..(pieces.end * piece_bytes).min(self.length_bytes);
        let expected = range.end - range.start;
        let bytes = match self.shared.bucket.get_range(&key(self.number), range) {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.why(error)),
        };
        if bytes.len() as u64 != expected {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.shared.cache.missed(pieces.end - pieces.start, expected);
        for (piece, content) in pieces.zip(bytes.chunks(piece_bytes as usize)) {
            self.shared.cache.put(self.number, piece, content);
        }
        Ok(bytes)
    }

    /// Why a range could not be read: of an object that is shorter than it was, a server says that the range is wrong, as if
    /// it could not be reached.
    fn why(&self, error: io::Error) -> io::Error {
        let said = error.to_string().to_lowercase();
        if (said.contains("range") || said.contains("416"))
            && let Ok(length_bytes) = self.shared.bucket.length_bytes(&key(self.number))
            && length_bytes != self.length_bytes
        {
            let what = format!("it has {length_bytes} bytes instead of {}", self.length_bytes);
            return io::Error::new(io::ErrorKind::UnexpectedEof, what);
        }
        self.shared.not_found(error)
    }
}

impl ReadFile for Object {
    fn prefer(&self, parts: &[Range<u64>]) {
        let piece_bytes = self.shared.bucket.sizes.piece_bytes as u64;
        let pieces = |part: &Range<u64>| part.start / piece_bytes..part.end.div_ceil(piece_bytes);
        self.shared.cache.prefer(self.number, parts.iter().map(pieces).collect());
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length_bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let cache = &self.shared.cache;
        let piece_bytes = self.shared.bucket.sizes.piece_bytes as u64;
        let mut at = offset;
        while at < end {
            let piece = at / piece_bytes;
            let into = (at - piece * piece_bytes) as usize;
            let rest = &mut buffer[(at - offset) as usize..];
            let length = rest.len().min(piece_bytes as usize - into);
            if cache.read(self.number, piece, into, &mut rest[..length]) {
                at += length as u64;
                continue;
            }
            let _alone = cache.fetch(self.number, piece);
            // Another reader may have brought it meanwhile.
            if cache.read(self.number, piece, into, &mut rest[..length]) {
                at += length as u64;
                continue;
            }
            let most = end.div_ceil(piece_bytes).min(piece + MOST_PIECES);
            let behind = (piece + 1..most).find(|next| cache.has(self.number, *next)).unwrap_or(most.max(piece + 1));
            let bytes = self.fetch(piece..behind)?;
            let length = rest.len().min(bytes.len() - into);
            rest[..length].copy_from_slice(&bytes[into..into + length]);
            at += length as u64;
        }
        Ok(())
    }
}

/// A file that was set aside, which is read as a whole, once, and not held.
pub(super) struct AsideObject {
    pub(super) shared: Arc<Shared>,
    pub(super) key: String,
    pub(super) length_bytes: u64,
}

impl ReadFile for AsideObject {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length_bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = self.shared.bucket.get_range(&self.key, offset..end)?;
        if bytes.len() != buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

/// A segment that is being uploaded: at once if it is small, in parts if not.
pub(super) struct NewObject {
    shared: Arc<Shared>,
    number: u64,
    /// The next piece for the cache.
    piece: u64,
    pending: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    is_done: bool,
}

impl NewObject {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self { shared, number, piece: 0, pending: Vec::new(), upload: None, is_done: false }
    }

    /// Takes bytes off the front, and holds them in the cache: what is new is asked for most.
    fn take(&mut self, length: usize) -> Bytes {
        let rest = self.pending.split_off(length);
        let taken = std::mem::replace(&mut self.pending, rest);
        for content in taken.chunks(self.shared.bucket.sizes.piece_bytes) {
            self.shared.cache.put(self.number, self.piece, content);
            self.piece += 1;
        }
        taken.into()
    }
}

impl WriteFile for NewObject {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        let part_bytes = self.shared.bucket.sizes.part_bytes;
        // The last part may be shorter and must not be empty.
        while self.pending.len() > part_bytes {
            let part = self.take(part_bytes);
            let bucket = &self.shared.bucket;
            let upload = match &mut self.upload {
                Some(upload) => upload,
                None => self.upload.insert(bucket.begin(&key(self.number))?),
            };
            bucket.send_part(&mut **upload, part)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let rest = self.take(self.pending.len());
        let bucket = &self.shared.bucket;
        let sent = match self.upload.take() {
            Some(mut upload) => match bucket.send_part(&mut *upload, rest) {
                Ok(()) => bucket.complete(upload),
                Err(error) => {
                    bucket.abort(upload);
                    Err(error)
                }
            },
            None => match bucket.put(&key(self.number), rest, PutMode::Overwrite) {
                Ok(_) => Ok(()),
                Err(PutError::Other(error)) => Err(error),
                Err(PutError::Condition) => Err(io::ErrorKind::AlreadyExists.into()),
            },
        };
        self.is_done = sent.is_ok();
        sent
    }
}

impl Drop for NewObject {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.shared.bucket.abort(upload);
        }
        if !self.is_done {
            // Nobody will read it, and while the bucket is away it would push out what is read.
            self.shared.cache.forget_segment(self.number);
        }
    }
}
