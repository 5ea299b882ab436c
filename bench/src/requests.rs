//! Requests, encoded once into a file, so that making them takes nothing from the stores.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of requests: each its length, then its body.
pub(crate) struct Requests {
    path: PathBuf,
    pub(crate) content_type: &'static str,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
}

impl Requests {
    pub(crate) fn write(
        path: &Path,
        content_type: &'static str,
        bodies: impl IntoIterator<Item = Result<Vec<u8>>>,
    ) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let mut made = Self { path: path.to_owned(), content_type, count: 0, bytes: 0 };
        for body in bodies {
            let body = body?;
            file.write_all(&u32::try_from(body.len())?.to_le_bytes())?;
            file.write_all(&body)?;
            made.count += 1;
            made.bytes += body.len() as u64;
        }
        file.flush()?;
        Ok(made)
    }

    /// The bodies in their order.
    pub(crate) fn bodies(&self) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path)?);
        let mut left = self.count;
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut body = || -> Result<Vec<u8>> {
                let mut length = [0; 4];
                file.read_exact(&mut length)?;
                let mut body = vec![0; u32::from_le_bytes(length) as usize];
                file.read_exact(&mut body)?;
                Ok(body)
            };
            Some(body())
        }))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // The folder goes as well when the run ends; with 50 million spans it is good to be early.
        let _ = std::fs::remove_file(&self.path);
    }
}
