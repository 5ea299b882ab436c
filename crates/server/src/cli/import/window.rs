//! A stream of which some bytes are looked at before they are taken.

use std::io::{self, Read};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// The bytes of a stream from [`offset`](Self::offset) on, as far as they were asked for.
pub(super) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    offset: u64,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, bytes: Vec::new(), start: 0, offset: 0, is_at_end: false }
    }

    /// What was read and not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes were taken before.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Waits until there are so many bytes, or the stream ends before: false. A pipe may give one byte at a time.
    pub(super) fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while self.bytes.len() - self.start < bytes {
            if self.is_at_end {
                return Ok(false);
            }
            if self.start > 0 {
                self.bytes.drain(..self.start);
                self.start = 0;
            }
            let length = self.bytes.len();
            self.bytes.resize(length + READ_BYTES, 0);
            let read = self.input.read(&mut self.bytes[length..]);
            self.bytes.truncate(length + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.is_at_end = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes bytes that were filled.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }
}

impl<R: Read> Read for Window<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.unread().is_empty() && !self.is_at_end {
            return self.input.read(out);
        }
        let length = self.unread().len().min(out.len());
        out[..length].copy_from_slice(&self.unread()[..length]);
        self.pass(length);
        Ok(length)
    }
}
