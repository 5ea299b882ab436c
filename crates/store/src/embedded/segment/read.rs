//! Reading a segment: the file, its footer, and single blocks of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tracewell_model::TraceId;

use super::block::{self, Chunk, ChunkPlace};
use super::coding::{Borrowed, Damaged, Input, Runs, Texts, Zstd, get_codes, get_numbers, get_texts};
use super::filter;
use super::footer::{BlockPlace, Footer, MAGIC, Origin, SectionPlace, TAIL_BYTES};
use super::index::{self, ENTRY_BYTES};
use super::mend;
use super::postings::Postings;
use super::rows::{Rows, Values};
use super::summary::{Known, get_summaries};
use super::table::{Table, unzigzag};
use crate::embedded::catalog::SegmentEntry;
use crate::embedded::checksum;
use crate::embedded::damage::Tolerance;
use crate::embedded::disk::{ReadFile, retried};
use crate::embedded::files::SegmentFiles;
use crate::names::Names;
use crate::{MissingPart, StoreError};

/// How much of a section is in memory while its checksum is looked at.
const CHECKED_BYTES: u64 = 256 * 1024;

/// Bytes at a file's end in which a footer that is to be mended is searched for.
const MENDED_BYTES: u64 = 64 << 20;

/// A segment whose file is open: it can be read even after it was dropped from the catalog.
pub(crate) struct Segment {
    pub(crate) entry: SegmentEntry,
    name: String,
    file: Box<dyn ReadFile>,
    pub(super) footer: Footer,
    /// Held until others need the memory: see [`Segment::forget`].
    contents: Mutex<Option<Arc<Contents>>>,
    used: AtomicU64,
    /// Held likewise.
    names: Mutex<Option<Arc<Names>>>,
    /// Whether the index, and the filter, are as they were written: looked at once, as only parts of them are read.
    index_is_whole: OnceLock<bool>,
    filter_is_whole: OnceLock<bool>,
}

/// What is read once and then held for a while.
pub(super) struct Contents {
    pub(super) table: Table,
    pub(super) dictionaries: Vec<Texts>,
    /// Read when a scan first asks for it; `None` if there is none, or none that can be used.
    postings: OnceLock<Option<Postings>>,
    bytes: usize,
}

/// Counts uses of contents over all segments, to tell which was used last.
static USES: AtomicU64 = AtomicU64::new(0);

/// Reading so much more takes about as long as one more read.
const BYTES_INSTEAD_OF_A_READ: usize = 1024;

impl Segment {
    pub(crate) fn open(files: &dyn SegmentFiles, entry: SegmentEntry) -> Result<Self, StoreError> {
        let name = files.name(entry.number);
        let file = retried(|| files.open(entry.number, Some(entry.bytes)))
            .map_err(|source| StoreError::read(format!("open segment {name}"), source))?;
        let footer = read_footer(&name, &*file)?;
        file.prefer(&footer.preferred(entry.bytes));
        Ok(Self::with(entry, name, file, footer))
    }

    fn with(entry: SegmentEntry, name: String, file: Box<dyn ReadFile>, footer: Footer) -> Self {
        Self {
            entry,
            name,
            file,
            footer,
            contents: Mutex::new(None),
            used: AtomicU64::new(0),
            names: Mutex::new(None),
            index_is_whole: OnceLock::new(),
            filter_is_whole: OnceLock::new(),
        }
    }

    /// Opens a segment of which only the number is known.
    pub(crate) fn find(files: &dyn SegmentFiles, number: u64) -> Result<(SegmentEntry, Origin), StoreError> {
        let name = files.name(number);
        let file = retried(|| files.open(number, None))
            .map_err(|source| StoreError::read(format!("open segment {name}"), source))?;
        let segment = Self::from_file(number, name, file)?;
        Ok((segment.entry, segment.footer.origin))
    }

    /// A segment in a file that no catalog names.
    pub(crate) fn from_file(number: u64, name: String, file: Box<dyn ReadFile>) -> Result<Self, StoreError> {
        let footer = read_footer(&name, &*file)?;
        Ok(Self::found(number, name, file, footer))
    }

    /// The same of a file that is to be repaired: a byte of its footer may be wrong.
    pub(crate) fn mended(number: u64, name: String, file: Box<dyn ReadFile>) -> Result<Self, StoreError> {
        let footer = match read_footer(&name, &*file) {
            Err(StoreError::Corrupt(_)) => mended_footer(&name, &*file)?,
            read => read?,
        };
        Ok(Self::found(number, name, file, footer))
    }

    fn found(number: u64, name: String, file: Box<dyn ReadFile>, footer: Footer) -> Self {
        let starts = footer.blocks.iter().map(|block| (block.first_start_unix_nano, block.last_start_unix_nano));
        let entry = SegmentEntry {
            number,
            tenant: footer.tenant.clone(),
            spans: footer.spans,
            bytes: file.length().unwrap_or(0),
            first_start_unix_nano: starts.clone().map(|(first, _)| first).min().unwrap_or(0),
            last_start_unix_nano: starts.map(|(_, last)| last).max().unwrap_or(0),
            first_date_unix_nano: footer.origin.dates.map(|(first, _)| first),
            last_date_unix_nano: footer.origin.dates.map(|(_, last)| last),
        };
        Self::with(entry, name, file, footer)
    }

    /// The segment as a part that an answer may miss.
    pub(crate) fn as_part(&self) -> MissingPart {
        MissingPart {
            file: self.name.clone(),
            spans: Some(self.entry.spans),
            starts_unix_nano: Some(self.entry.starts()),
            is_damaged: true,
        }
    }

    /// Goes on after damage of a block. What cannot be read at the moment ends the read of the segment.
    pub(super) fn tolerate_block<T>(
        &self,
        block: usize,
        tolerance: &Tolerance<'_>,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Io { .. })) => Err(error),
            result => tolerance.tolerate(self.entry.number, || self.block_as_part(block), result),
        }
    }

    pub(super) fn block_as_part(&self, block: usize) -> MissingPart {
        let place = &self.footer.blocks[block];
        MissingPart {
            file: format!("{} at offset {}", self.name, place.offset),
            spans: Some(u64::from(place.rows)),
            starts_unix_nano: Some((place.first_start_unix_nano, place.last_start_unix_nano)),
            is_damaged: true,
        }
    }

    /// Where its spans came from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.footer.origin
    }

    pub(super) fn damaged(&self, offset: u64, Damaged(what): Damaged) -> StoreError {
        StoreError::Corrupt(format!("segment {} at offset {offset}: {what}", self.name))
    }

    pub(super) fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; length];
        retried(|| self.file.read_at(&mut bytes, offset))
            .map_err(|source| StoreError::read(format!("read segment {} at offset {offset}", self.name), source))?;
        Ok(bytes)
    }

    pub(super) fn section(&self, section: SectionPlace) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(section.offset, section.length as usize)?;
        if checksum::holds(&bytes, section.checksum) {
            Ok(bytes)
        } else {
            Err(self
                .damaged(section.offset, Damaged("a section's checksum is wrong: no span of the segment can be read")))
        }
    }

    /// Whether a section is as it was written, looked at once and in pieces. A read that fails is no verdict.
    fn is_whole(
        &self,
        known: &OnceLock<bool>,
        section: SectionPlace,
        tolerance: &Tolerance<'_>,
    ) -> Result<bool, StoreError> {
        if let Some(known) = known.get() {
            return Ok(*known);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut offset = section.offset;
        let end = section.offset + section.length;
        while offset < end {
            let length = (end - offset).min(CHECKED_BYTES);
            hasher.update(&self.bytes(offset, length as usize)?);
            offset += length;
        }
        let is_whole = cfg!(fuzzing) || hasher.finalize() == section.checksum;
        if !is_whole {
            self.note_slower(section, tolerance);
        }
        Ok(*known.get_or_init(|| is_whole))
    }

    fn note_slower(&self, section: SectionPlace, tolerance: &Tolerance<'_>) {
        tolerance.note_harmless(
            self.entry.number,
            &format!(
                "segment {} at offset {}: what finds spans has another checksum: no span is lost, reads take longer",
                self.name, section.offset
            ),
        );
    }

    /// The templates and the dictionaries.
    pub(super) fn contents(&self) -> Result<Arc<Contents>, StoreError> {
        self.used.store(USES.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if let Some(known) = &*self.contents.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(known.clone());
        }
        let mut zstd = self.zstd()?;
        let place = self.footer.table;
        let section = self.section(place)?;
        let table = block::get_section(&mut zstd, &section)
            .and_then(|bytes| Table::get(&bytes))
            .map_err(|damaged| self.damaged(place.offset, damaged))?;
        let place = self.footer.dictionaries;
        let section = self.section(place)?;
        let mut input = Input(&section);
        let dictionaries = table
            .columns
            .iter()
            .map(|_| {
                let count = input.size(u32::MAX as usize)?;
                get_texts(&mut zstd, &mut input, count, &Runs::all(count))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|damaged| self.damaged(place.offset, damaged))?;
        let bytes = table.size_bytes() + dictionaries.iter().map(Texts::size_bytes).sum::<usize>();
        let contents = Arc::new(Contents { table, dictionaries, postings: OnceLock::new(), bytes });
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner) = Some(contents.clone());
        Ok(contents)
    }

    /// Which blocks have which templates. What is damaged is noted: no span is lost with it. A read that fails is no
    /// verdict.
    pub(super) fn postings<'a>(
        &self,
        contents: &'a Contents,
        tolerance: &Tolerance<'_>,
    ) -> Result<Option<&'a Postings>, StoreError> {
        let Some(place) = self.footer.postings else { return Ok(None) };
        if let Some(known) = contents.postings.get() {
            return Ok(known.as_ref());
        }
        let bytes = self.bytes(place.offset, place.length as usize)?;
        let mut zstd = self.zstd()?;
        let is_whole = checksum::holds(&bytes, place.checksum);
        let (templates, blocks) = (contents.table.templates.len(), self.footer.blocks.len());
        let mut read = || -> Result<Postings, Damaged> {
            Postings::get(block::get_section(&mut zstd, &bytes)?, templates, blocks)
        };
        let postings = is_whole.then(|| read().ok()).flatten();
        if postings.is_none() {
            self.note_slower(place, tolerance);
        }
        Ok(contents.postings.get_or_init(|| postings).as_ref())
    }

    /// Bytes that are held to read faster the next time, and when they were last used.
    pub(crate) fn held(&self) -> Option<(u64, usize)> {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.known_names().as_ref().map_or(0, |names| names.size_bytes());
        let bytes = contents.as_ref().map_or(0, |contents| {
            let postings = contents.postings.get().and_then(Option::as_ref).map_or(0, Postings::size_bytes);
            contents.bytes + postings
        });
        (bytes + names > 0).then(|| (self.used.load(Ordering::Relaxed), bytes + names))
    }

    /// Lets go of what [`held`](Self::held) counts.
    pub(crate) fn forget(&self) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.known_names().take();
    }

    pub(super) fn zstd(&self) -> Result<Borrowed, StoreError> {
        Borrowed::take().map_err(|source| StoreError::io("start zstd".to_owned(), source))
    }

    pub(crate) fn names(&self) -> Result<Arc<Names>, StoreError> {
        if let Some(known) = &*self.known_names() {
            return Ok(known.clone());
        }
        let place = self.footer.names;
        let section = self.section(place)?;
        let mut zstd = self.zstd()?;
        let names = block::get_section(&mut zstd, &section)
            .and_then(|bytes| Names::get(&bytes))
            .map_err(|damaged| self.damaged(place.offset, damaged))?;
        let names = Arc::new(names);
        *self.known_names() = Some(names.clone());
        Ok(names)
    }

    fn known_names(&self) -> MutexGuard<'_, Option<Arc<Names>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blocks in which each of some traces may have rows, in order.
    pub(crate) fn blocks_of(&self, ids: &[TraceId], tolerance: &Tolerance<'_>) -> Result<Vec<Vec<usize>>, StoreError> {
        let blocks = self.footer.blocks.len();
        if !self.is_whole(&self.index_is_whole, self.footer.index, tolerance)? {
            return Ok(ids.iter().map(|_| (0..blocks).collect()).collect());
        }
        let entries_length = self.footer.places.entries() * ENTRY_BYTES;
        let whole = if entries_length <= ids.len() * BYTES_INSTEAD_OF_A_READ {
            Some(self.bytes(self.footer.index.offset, entries_length)?)
        } else {
            None
        };
        ids.iter()
            .map(|id| {
                let hash = index::hash_of(*id);
                let (first, end) = self.footer.places.range(hash);
                let part = first * ENTRY_BYTES..end * ENTRY_BYTES;
                let found = |entries: &[u8]| index::blocks_of(hash, entries).filter(|block| *block < blocks).collect();
                match &whole {
                    _ if part.is_empty() => Ok(Vec::new()),
                    Some(entries) => Ok(found(&entries[part])),
                    None => Ok(found(&self.bytes(self.footer.index.offset + part.start as u64, part.len())?)),
                }
            })
            .collect()
    }

    /// For each group of blocks, whether the filter knows one of some hashes.
    pub(super) fn groups_with(&self, hashes: &[u64], tolerance: &Tolerance<'_>) -> Result<Vec<bool>, StoreError> {
        let groups = self.footer.blocks.len().div_ceil(filter::GROUP_BLOCKS);
        if !self.is_whole(&self.filter_is_whole, self.footer.filter, tolerance)? {
            return Ok(vec![true; groups]);
        }
        let mut found = vec![false; groups];
        for hash in hashes {
            let (offset, length) = filter::lines_of(*hash, self.footer.filter_lines, groups);
            if offset + length as u64 > self.footer.filter.length {
                return Err(self.damaged(self.footer.filter.offset, Damaged("the filter is too short")));
            }
            let lines = self.bytes(self.footer.filter.offset + offset, length)?;
            for (found, here) in found.iter_mut().zip(filter::groups_with(*hash, &lines)) {
                *found |= here;
            }
        }
        Ok(found)
    }

    /// A block, of which nothing but the header is read yet.
    pub(super) fn block(&self, number: usize) -> Result<Block<'_>, StoreError> {
        let place = &self.footer.blocks[number];
        let header = self.bytes(place.offset, place.header_length as usize)?;
        self.block_with(place, &header, None)
    }

    /// A block that was read as a whole, for readers of most of its columns.
    pub(super) fn whole_block(&self, number: usize) -> Result<Block<'_>, StoreError> {
        let place = &self.footer.blocks[number];
        let bytes = Bytes::from(self.bytes(place.offset, place.length as usize)?);
        let header = bytes.slice(..place.header_length as usize);
        self.block_with(place, &header, Some(bytes))
    }

    fn block_with<'a>(
        &'a self,
        place: &'a BlockPlace,
        header: &[u8],
        whole: Option<Bytes>,
    ) -> Result<Block<'a>, StoreError> {
        if !checksum::holds(header, place.header_checksum) {
            return Err(self.lost(place, "header", Damaged("the checksum is wrong")));
        }
        let chunks =
            block::get_chunks(header, place.length as usize).map_err(|damaged| self.lost(place, "header", damaged))?;
        Ok(Block {
            segment: self,
            place,
            chunks,
            whole,
            wanted: Runs::all(place.rows as usize),
            rows: Rows::default(),
            span_ids: Bytes::new(),
            loaded: 0,
            loaded_columns: Vec::new(),
        })
    }

    fn lost(&self, place: &BlockPlace, what: &str, Damaged(why): Damaged) -> StoreError {
        StoreError::Corrupt(format!(
            "segment {} at offset {}: {what} of a block: {why}; its {} spans are lost",
            self.name, place.offset, place.rows
        ))
    }
}

fn read_footer(name: &str, file: &dyn ReadFile) -> Result<Footer, StoreError> {
    let io = |source| StoreError::read(format!("open segment {name}"), source);
    let damaged = |what: &str| StoreError::Corrupt(format!("segment {name}: {what}"));
    let length = retried(|| file.length()).map_err(io)?;
    let tail_offset = length.checked_sub(TAIL_BYTES as u64).ok_or_else(|| damaged("it is cut off"))?;
    let mut tail = [0; TAIL_BYTES];
    retried(|| file.read_at(&mut tail, tail_offset)).map_err(io)?;
    let mut input = Input(&tail);
    let (Ok(footer_length), Ok(checksum)) = (input.u32(), input.u32()) else { return Err(damaged("it is cut off")) };
    if input.0 != MAGIC {
        return Err(damaged("it does not end as a segment of this version does"));
    }
    let offset = tail_offset.checked_sub(u64::from(footer_length)).ok_or_else(|| damaged("its footer is cut off"))?;
    let mut bytes = vec![0; footer_length as usize];
    use crate::embedded::checksum;
    retried(|| file.read_at(&mut bytes, offset)).map_err(io)?;
    if !checksum::holds(&bytes, checksum) {
        return Err(damaged(&format!("the footer at offset {offset} has another checksum")));
    }
    parse_footer(name, &bytes, offset)
}

/// A footer of which a byte may be wrong.
fn mended_footer(name: &str, file: &dyn ReadFile) -> Result<Footer, StoreError> {
    let io = |source| StoreError::read(format!("open segment {name}"), source);
    let damaged = |what: &str| StoreError::Corrupt(format!("segment {name}: {what}"));
    let length = retried(|| file.length()).map_err(io)?;
    // Mostly the footer is in this; a byte of its length may be wrong, so that it cannot be gone by.
    let mut end = vec![0; length.min(MENDED_BYTES) as usize];
    let begin = length - end.len() as u64;
    retried(|| file.read_at(&mut end, begin)).map_err(io)?;
    let bytes = mend::find_footer(&end).ok_or_else(|| damaged("its footer is damaged"))?;
    let offset = length - (TAIL_BYTES + bytes.len()) as u64;
    parse_footer(name, &bytes, offset)
}

/// Reads a footer that begins at an offset.
fn parse_footer(name: &str, bytes: &[u8], offset: u64) -> Result<Footer, StoreError> {
    let damaged = |what: &str| StoreError::Corrupt(format!("segment {name}: {what}"));
    let footer = Footer::get(bytes).map_err(|Damaged(what)| damaged(what))?;
    let inside = footer.blocks.iter().all(|block| block.offset.checked_add(u64::from(block.length)) <= Some(offset))
        && [footer.table, footer.dictionaries, footer.names, footer.index, footer.filter]
            .iter()
            .chain(&footer.postings)
            .all(|section| section.offset.checked_add(section.length).is_some_and(|end| end <= offset))
        && (footer.places.entries() * ENTRY_BYTES) as u64 <= footer.index.length;
    if !inside {
        return Err(damaged("its footer points outside of the file"));
    }
    Ok(footer)
}

/// A block that is being read: chunks are decoded when they are asked for.
pub(super) struct Block<'a> {
    segment: &'a Segment,
    pub(super) place: &'a BlockPlace,
    chunks: Vec<ChunkPlace>,
    whole: Option<Bytes>,
    /// The rows that are decoded.
    wanted: Runs,
    /// What was decoded so far: of the rows that are wanted, but for traces and templates, which are those of all rows
    /// up to the last that is wanted.
    pub(super) rows: Rows,
    /// The span ids of all rows as they lie in the block.
    span_ids: Bytes,
    loaded: u32,
    loaded_columns: Vec<bool>,
}

impl Block<'_> {
    pub(super) fn len(&self) -> usize {
        self.place.rows as usize
    }

    pub(super) fn chunks(&self) -> &[ChunkPlace] {
        &self.chunks
    }

    pub(super) fn lost(&self, what: &str, damaged: Damaged) -> StoreError {
        self.segment.lost(self.place, what, damaged)
    }

    /// Decodes only these rows from here on, which is said before anything but the traces is decoded.
    pub(super) fn narrow(&mut self, wanted: &Runs) {
        debug_assert!(self.loaded & !(1 << Chunk::TRACES) == 0 && self.loaded_columns.is_empty());
        self.wanted = wanted.clone();
    }

    /// A chunk's bytes, checked; `None` if the block has no such chunk.
    fn chunk_bytes(&self, number: u32) -> Result<Option<(ChunkPlace, Bytes)>, StoreError> {
        let read = self.unchecked_chunk(number)?;
        match &read {
            Some((chunk, bytes)) if !checksum::holds(bytes, chunk.checksum) => {
                Err(self.lost(&format!("chunk {number}"), Damaged("the checksum is wrong")))
            }
            _ => Ok(read),
        }
    }

    fn unchecked_chunk(&self, number: u32) -> Result<Option<(ChunkPlace, Bytes)>, StoreError> {
        let Some(chunk) = self.chunks.iter().find(|chunk| chunk.number == number).copied() else { return Ok(None) };
        let (start, length) = (chunk.offset as usize, chunk.length as usize);
        let bytes = match &self.whole {
            Some(whole) => whole.slice(start..start + length),
            None => self.segment.bytes(self.place.offset + start as u64, length)?.into(),
        };
        Ok(Some((chunk, bytes)))
    }

    /// What is known of large traces that end here. No span is lost with it.
    pub(super) fn summaries(&self, zstd: &mut Zstd, table: &Table) -> Result<Vec<Known>, StoreError> {
        let Some((chunk, bytes)) = self.unchecked_chunk(Chunk::SUMMARIES)? else { return Ok(Vec::new()) };
        if checksum::holds(&bytes, chunk.checksum)
            && let Ok(summaries) = get_summaries(zstd, &bytes, chunk.count as usize, table)
        {
            return Ok(summaries);
        }
        let offset = self.place.offset + u64::from(chunk.offset);
        Err(self
            .segment
            .damaged(offset, Damaged("summaries of traces make no sense: no span is lost, lists take longer")))
    }

    /// Decodes one of the chunks that every block has, and those that it needs.
    pub(super) fn load(&mut self, zstd: &mut Zstd, number: u32) -> Result<(), StoreError> {
        if self.loaded & 1 << number != 0 {
            return Ok(());
        }
        match number {
            Chunk::START => self.load(zstd, Chunk::TRACES)?,
            Chunk::PARENT => self.load(zstd, Chunk::SPAN_ID)?,
            _ => {}
        }
        let rows = self.len();
        let what = || Chunk::name(number, &[]);
        let (chunk, bytes) = self.chunk(number)?;
        let mut input = Input(&bytes);
        let wanted = &self.wanted;
        let decoded = match number {
            Chunk::TRACES => block::get_traces(zstd, &bytes, chunk.count as usize, rows).map(|(ids, lengths)| {
                self.rows.trace_ids = ids;
                self.rows.trace_rows = lengths;
            }),
            Chunk::TEMPLATE => get_codes(zstd, &mut input, rows, &Runs::all(wanted.end().min(rows)))
                .map(|codes| self.rows.template = codes),
            Chunk::RESOURCE => get_codes(zstd, &mut input, rows, wanted).map(|codes| self.rows.resource = codes),
            Chunk::START => block::get_starts(zstd, &bytes, &self.rows.trace_rows, rows, wanted)
                .map(|starts| self.rows.start_unix_nano = starts),
            Chunk::DURATION => {
                get_numbers(zstd, &mut input, rows, wanted).map(|durations| self.rows.duration_nanos = durations)
            }
            Chunk::SPAN_ID => block::get_span_ids(&bytes, rows, wanted).map(|ids| {
                self.rows.span_id = ids;
                self.span_ids = bytes.clone();
            }),
            Chunk::PARENT => block::get_parents(zstd, &bytes, &self.span_ids, wanted)
                .map(|parents| self.rows.parent_span_id = parents),
            _ => Err(Damaged("no such chunk")),
        };
        decoded.map_err(|damaged| self.lost(&what(), damaged))?;
        self.check(number)?;
        self.loaded |= 1 << number;
        Ok(())
    }

    fn chunk(&self, number: u32) -> Result<(ChunkPlace, Bytes), StoreError> {
        self.chunk_bytes(number)?.ok_or_else(|| self.lost(&Chunk::name(number, &[]), Damaged("it is missing")))
    }

    /// The starts of some rows, of a block of which more is not asked.
    pub(super) fn starts_of(&mut self, zstd: &mut Zstd, rows: &Runs) -> Result<Vec<u64>, StoreError> {
        self.load(zstd, Chunk::TRACES)?;
        let (_, bytes) = self.chunk(Chunk::START)?;
        let starts = block::get_starts(zstd, &bytes, &self.rows.trace_rows, self.len(), rows);
        starts.map_err(|damaged| self.lost("start", damaged))
    }

    /// The durations of some rows.
    pub(super) fn durations_of(&self, zstd: &mut Zstd, rows: &Runs) -> Result<Vec<u64>, StoreError> {
        let (_, bytes) = self.chunk(Chunk::DURATION)?;
        let durations = get_numbers(zstd, &mut Input(&bytes), self.len(), rows);
        durations.map_err(|damaged| self.lost("duration", damaged))
    }

    /// The span ids of some rows.
    pub(super) fn span_ids_of(&self, rows: &Runs) -> Result<Vec<u64>, StoreError> {
        let (_, bytes) = self.chunk(Chunk::SPAN_ID)?;
        block::get_span_ids(&bytes, self.len(), rows).map_err(|damaged| self.lost("span_id", damaged))
    }

    /// Whether what was decoded names only what is there.
    fn check(&self, number: u32) -> Result<(), StoreError> {
        let within = |codes: &[u32], count: usize| codes.iter().max().is_none_or(|most| (*most as usize) < count);
        let fits = match number {
            Chunk::TEMPLATE => within(&self.rows.template, self.segment.contents()?.table.templates.len()),
            Chunk::RESOURCE => within(&self.rows.resource, self.segment.contents()?.table.resources.len()),
            _ => true,
        };
        if fits { Ok(()) } else { Err(self.lost(&Chunk::name(number, &[]), Damaged("it names what is not there"))) }
    }

    /// Decodes a column of values that vary.
    pub(super) fn load_column(
        &mut self,
        zstd: &mut Zstd,
        contents: &Contents,
        column: usize,
    ) -> Result<(), StoreError> {
        self.load_values(zstd, contents, column, None)
    }

    /// Decodes of a column of values that vary those that are wanted, or all.
    pub(super) fn load_values(
        &mut self,
        zstd: &mut Zstd,
        contents: &Contents,
        column: usize,
        wanted: Option<&Runs>,
    ) -> Result<(), StoreError> {
        if self.loaded_columns.is_empty() {
            self.loaded_columns = vec![false; contents.table.columns.len()];
            self.rows.values = contents.table.columns.iter().map(|column| Values::new(column.storage)).collect();
        }
        if std::mem::replace(&mut self.loaded_columns[column], true) {
            return Ok(());
        }
        let known = &contents.table.columns[column];
        let Some((chunk, bytes)) = self.chunk_bytes(Chunk::FIRST_COLUMN + column as u32)? else { return Ok(()) };
        let count = chunk.count as usize;
        let all = || Runs::all(count);
        let values = block::get_values(zstd, &bytes, known.storage, count, &wanted.cloned().unwrap_or_else(all))
            .map_err(|damaged| self.lost(&known.name(), damaged))?;
        if let Values::Codes(codes) = &values
            && codes.iter().any(|code| *code as usize >= contents.dictionaries[column].len())
        {
            return Err(self.lost(&known.name(), Damaged("it names what is not there")));
        }
        self.rows.values[column] = values;
        Ok(())
    }

    /// Of a column of counts, decoded whole, leaves those that are wanted; what these count are runs of their own.
    pub(super) fn pick_counts(&mut self, column: usize, wanted: &Runs) -> Result<Runs, StoreError> {
        let lost = |damaged| self.lost("counts", damaged);
        let Values::Numbers(counts) = &self.rows.values[column] else {
            return Err(lost(Damaged("counts are no numbers")));
        };
        let picked = wanted.pick(counts).map_err(lost)?;
        let count = |number: &u64| usize::try_from(unzigzag(*number)).unwrap_or(0);
        let total = |counts: &[u64]| counts.iter().map(count).fold(0usize, usize::saturating_add);
        let mut counted = Runs::default();
        let (mut at, mut passed) = (0, 0usize);
        for run in wanted.iter() {
            let start = passed.saturating_add(total(&counts[at..run.start]));
            passed = start.saturating_add(total(&counts[run.clone()]));
            counted.push(start..passed);
            at = run.end;
        }
        self.rows.values[column] = Values::Numbers(picked);
        Ok(counted)
    }

    /// The rows of each trace that is asked for.
    pub(super) fn rows_of(&self, wanted: impl Fn(TraceId) -> bool) -> Runs {
        let mut rows = Runs::default();
        let mut at = 0;
        for (id, length) in self.rows.trace_ids.iter().zip(&self.rows.trace_rows) {
            if wanted(*id) {
                rows.push(at..at + *length as usize);
            }
            at += *length as usize;
        }
        rows
    }
}
