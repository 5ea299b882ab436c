//! Entries for fuzzing: files from anywhere, read as a store reads its own. They panic only on a fault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracewell_model::{SpanBatch, TimeRange, TraceId};

use super::catalog::Catalog;
use super::damage::{Damages, Tolerance};
use super::disk::{Disk, ReadFile, WriteFile};
use super::files::SegmentFiles;
use super::look::read_log;
use super::segment::Segment;
use crate::Projection;

/// Traces that are looked up by the ids that a segment says it has.
const TRACES: usize = 8;

/// Opens a segment, checks every part, reads every span and looks some traces up.
pub fn segment(bytes: &[u8]) {
    let file = OneFile(bytes.into());
    let Ok((entry, _)) = Segment::find(&file, 0) else { return };
    let Ok(segment) = Segment::open(&file, entry) else { return };
    let damages = Damages::default();
    let damages = Tolerance::new(&damages, None);
    let _ = segment.verify(|_| {});
    let mut ids: Vec<TraceId> = Vec::new();
    let _ = segment.every_span(
        |batch| {
            ids.extend(batch.spans().trace_id.iter().take(TRACES));
            Ok(())
        },
        |_| {},
    );
    ids.truncate(TRACES);
    let mut found = SpanBatch::new();
    for projection in [Projection::All, Projection::Outline(&[])] {
        let _ = segment.traces(&ids, projection, &damages, &mut found);
    }
    if let Ok(blocks) = segment.blocks_of(&ids, &damages) {
        ids.iter().zip(&blocks).for_each(|(id, blocks)| {
            let _ = segment.summary(*id, blocks);
        });
    }
    let _ = segment.names();
    let _ = segment.bytes_by_column(&mut std::collections::BTreeMap::new());
    let mut values = std::collections::BTreeSet::new();
    let wanted = crate::values::ValuesOf::new("http.request.method", "", TimeRange::new(0, u64::MAX), 10);
    let _ = segment.values(&wanted, &damages, &mut values);
}

/// Reads a log file to its end.
pub fn log(bytes: &[u8]) {
    let _ = read_log(&OneFile(bytes.into()), Path::new("/store"), 0, &mut |_, _, _| {});
}

/// Reads a catalog; one that is taken comes back from its own bytes.
pub fn catalog(bytes: &[u8]) {
    let Ok(catalog) = Catalog::decode(bytes, "catalog.json") else { return };
    let encoded = catalog.encode().expect("a catalog can be written");
    assert_eq!(Catalog::decode(&encoded, "catalog.json").expect("its own encoding is taken"), catalog);
}

/// The only file that there is: segment 0, or log 0. Nothing can be written.
struct OneFile(Arc<[u8]>);

impl ReadFile for OneFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.0.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl SegmentFiles for OneFile {
    fn name(&self, number: u64) -> String {
        number.to_string()
    }

    fn create(&self, _: u64) -> io::Result<Box<dyn WriteFile>> {
        refused()
    }

    fn open(&self, _: u64, _: Option<u64>) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn remove(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn set_aside(&self, _: u64, _: bool) -> io::Result<String> {
        refused()
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(vec![0])
    }

    fn catalog_name(&self) -> String {
        "catalog.json".to_owned()
    }

    fn read_catalog(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn swap_catalog(&self, _: &[u8]) -> io::Result<()> {
        refused()
    }
}

impl Disk for OneFile {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn WriteFile>> {
        refused()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        if path.file_stem().is_some_and(|stem| stem == "0000000001") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(Self(self.0.clone())))
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![super::log_path(folder.parent().unwrap_or(folder), 0)])
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        refused()
    }
}
