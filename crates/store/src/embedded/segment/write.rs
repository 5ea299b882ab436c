//! Writing a segment: rows in, blocks out, and at the end what finds them.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tracewell_model::{StrId, Value};

use super::block::{BLOCK_ROWS, put_block, put_section};
use super::coding::{Zstd, put_texts, put_varint};
use super::dictionary::Dictionary;
use super::filter::{self, FilterBuilder, GROUP_BLOCKS};
use super::footer::{BlockPlace, Footer, MAGIC, Origin, SectionPlace, TAIL_BYTES};
use super::index::IndexBuilder;
use super::postings::PostingsBuilder;
use super::rows::{Rows, Values};
use super::summary::Summaries;
use super::table::{Part, Place, Storage, Table, ValueType, unzigzag};
use crate::embedded::catalog::SegmentEntry;
use crate::embedded::disk::WriteFile;
use crate::embedded::files::SegmentFiles;
use crate::names::Names;
use crate::{AttributeScope, StoreError, Tenant};

/// Blocks are gathered until there are so many bytes, and then written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A block ends when its values take this number of bytes, as it is decoded a column at a time: whoever reads one row of it has
/// much of this in memory. Ordinary blocks have a tenth of it.
const MAX_BLOCK_BYTES: usize = 8 << 20;
/// Number of rows after which the bytes of the values are counted.
const ROWS_BETWEEN_LOOKS: usize = 32;

/// Maximum number of names that are known to have been added.
const MAX_NAMED: usize = 100_000;

/// Takes rows whose templates, resources and columns are those of a table.
pub(super) struct SegmentWriter {
    file: Box<dyn WriteFile>,
    name: String,
    number: u64,
    zstd: Zstd,
    pub(super) table: Table,
    pub(super) dictionaries: Vec<Dictionary>,
    /// The rows of the block that is being filled.
    pub(super) rows: Rows,
    summaries: Summaries,
    pending: Vec<u8>,
    written: u64,
    footer: Footer,
    index: IndexBuilder,
    filter: FilterBuilder,
    group: Group,
    keys: Vec<u64>,
    /// What each template's constant attributes add to a filter, made when it first occurs.
    template_hashes: Vec<Option<Vec<u64>>>,
    resource_hashes: Vec<Option<Vec<u64>>>,
    postings: PostingsBuilder,
    /// Services with the hash of a name, where names vary too much to be a template's.
    named: HashSet<(StrId, u64), RandomState>,
    names: Names,
    /// Spans of each service.
    service_spans: HashMap<StrId, u64, RandomState>,
}

/// What the group of blocks that is being written has in its filter already.
#[derive(Default)]
struct Group {
    blocks: usize,
    templates: Vec<bool>,
    resources: Vec<bool>,
    codes: Vec<Vec<bool>>,
}

/// Sets a flag and says whether it was new.
fn first_time(flags: &mut Vec<bool>, place: usize) -> bool {
    if flags.len() <= place {
        flags.resize(place + 1, false);
    }
    !std::mem::replace(&mut flags[place], true)
}

impl SegmentWriter {
    pub(super) fn create(
        files: &dyn SegmentFiles,
        number: u64,
        tenant: &Tenant,
        origin: Origin,
        table: Table,
        level: i32,
    ) -> Result<Self, StoreError> {
        let name = files.name(number);
        let io = |source| StoreError::io(format!("create segment {name}"), source);
        let file = files.create(number).map_err(io)?;
        let keys = table
            .columns
            .iter()
            .map(|column| match &column.part {
                Part::Attribute(key) => filter::of_key(key),
                other => filter::of_key(special_key(other)),
            })
            .collect();
        Ok(Self {
            file,
            number,
            zstd: Zstd::new(level).map_err(io)?,
            name,
            dictionaries: table.columns.iter().map(|_| Dictionary::default()).collect(),
            rows: Rows::new(&table.columns),
            summaries: Summaries::default(),
            pending: MAGIC.to_vec(),
            written: 0,
            footer: Footer { tenant: tenant.as_str().to_owned(), origin, ..Footer::default() },
            index: IndexBuilder::default(),
            filter: FilterBuilder::default(),
            group: Group { codes: vec![Vec::new(); table.columns.len()], ..Group::default() },
            keys,
            template_hashes: vec![None; table.templates.len()],
            resource_hashes: vec![None; table.resources.len()],
            postings: PostingsBuilder::default(),
            named: HashSet::default(),
            names: Names::default(),
            service_spans: HashMap::default(),
            table,
        })
    }

    fn io(&self, source: std::io::Error) -> StoreError {
        StoreError::io(format!("write segment {}", self.name), source)
    }

    /// Ends the block if the next trace, of so many rows, would not fit into it.
    pub(super) fn before_trace(&mut self, rows: usize) -> Result<(), StoreError> {
        if self.rows.len() + rows > BLOCK_ROWS && self.rows.len() >= BLOCK_ROWS / 2 {
            self.end_block(true)?;
        }
        Ok(())
    }

    /// Ends the block if it is full, in rows or in bytes.
    pub(super) fn after_row(&mut self) -> Result<(), StoreError> {
        let rows = self.rows.len();
        let is_full = rows >= BLOCK_ROWS
            || (rows.is_multiple_of(ROWS_BETWEEN_LOOKS) && self.rows.size_bytes() >= MAX_BLOCK_BYTES);
        if is_full { self.end_block(false) } else { Ok(()) }
    }

    /// Ends the block, with the end of a trace or where one may go on.
    fn end_block(&mut self, ends_with_trace: bool) -> Result<(), StoreError> {
        if self.rows.len() == 0 {
            return Ok(());
        }
        let place = self.footer.blocks.len();
        let start = self.pending.len();
        self.summaries.add_block(&self.table, &self.dictionaries, &self.rows, ends_with_trace);
        let header_length = put_block(&mut self.zstd, &self.rows, &self.summaries, &mut self.pending);
        let rows = &self.rows;
        let bounds =
            |column: &[u64]| (column.iter().copied().min().unwrap_or(0), column.iter().copied().max().unwrap_or(0));
        let (first_start_unix_nano, last_start_unix_nano) = bounds(&rows.start_unix_nano);
        self.footer.blocks.push(BlockPlace {
            offset: self.written + start as u64,
            length: (self.pending.len() - start) as u32,
            header_length: header_length as u32,
            header_checksum: crc32fast::hash(&self.pending[start..start + header_length]),
            rows: rows.len() as u32,
            first_start_unix_nano,
            last_start_unix_nano,
            longest_nanos: (0..rows.len()).map(|row| rows.lasting_nanos(row)).max().unwrap_or(0),
        });
        rows.trace_ids.iter().for_each(|id| self.index.add(*id, place));
        self.footer.spans += rows.len() as u64;
        self.footer.traces += rows.trace_ids.len() as u64;
        self.note();
        self.note_names();
        self.rows.clear();
        self.group.blocks += 1;
        if self.group.blocks == GROUP_BLOCKS {
            self.end_group();
        }
        if self.pending.len() >= WRITE_BYTES { self.write_pending() } else { Ok(()) }
    }

    fn end_group(&mut self) {
        self.filter.end_group();
        let codes = std::mem::take(&mut self.group.codes);
        self.group = Group { codes: codes.into_iter().map(|_| Vec::new()).collect(), ..Group::default() };
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        self.file.append(&self.pending).map_err(|error| self.io(error))?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Notes in the filter and in the postings what the block has.
    fn note(&mut self) {
        let block = self.footer.blocks.len() - 1;
        let rows = &self.rows;
        let kind = |row: usize| (rows.template[row], rows.resource[row]);
        let mut row = 0;
        while row < rows.len() {
            let (template, resource) = kind(row);
            // Rows of a kind often follow one another.
            let first = row;
            let mut longest_nanos = 0;
            while row < rows.len() && kind(row) == (template, resource) {
                longest_nanos = longest_nanos.max(rows.lasting_nanos(row));
                row += 1;
            }
            let service = self.table.service_id(resource as usize);
            self.postings.add(block, service, template, longest_nanos);
            *self.service_spans.entry(service).or_default() += (row - first) as u64;
            if first_time(&mut self.group.templates, template as usize) {
                let table = &self.table;
                let hashes =
                    self.template_hashes[template as usize].get_or_insert_with(|| constant_hashes(table, template));
                hashes.iter().for_each(|hash| self.filter.add(*hash));
            }
            if first_time(&mut self.group.resources, resource as usize) {
                let table = &self.table;
                let hashes = self.resource_hashes[resource as usize].get_or_insert_with(|| {
                    let resource = &table.templates.resources()[table.resources[resource as usize].index()];
                    shared_hashes(table, &resource.attributes).collect()
                });
                hashes.iter().for_each(|hash| self.filter.add(*hash));
            }
        }
        for (place, values) in self.rows.values.iter().enumerate() {
            let (column, key) = (&self.table.columns[place], self.keys[place]);
            if column.value_type == ValueType::Bytes || column.value_type == ValueType::Nested {
                continue;
            }
            match values {
                Values::Numbers(numbers) if column.storage == Storage::RareNumber => {
                    numbers.iter().for_each(|number| self.filter.add(filter::of_int(key, unzigzag(*number))));
                }
                Values::Numbers(_) => {}
                Values::Codes(codes) => {
                    let seen = &mut self.group.codes[place];
                    for code in codes {
                        if first_time(seen, *code as usize) {
                            self.filter.add(filter::of_text(key, self.dictionaries[place].texts.get(*code as usize)));
                        }
                    }
                }
                Values::Texts(texts) => texts.iter().for_each(|text| self.filter.add(filter::of_text(key, text))),
            }
        }
    }

    /// Notes the operations of templates whose name varies.
    fn note_names(&mut self) {
        if self.table.column(&Part::Name).is_none() {
            return;
        }
        let mut place = 0;
        for (template, resource) in self.rows.template.iter().zip(&self.rows.resource) {
            let Some(column) = self.table.name_column(*template) else { continue };
            let Some(name) = self.rows.values[column].text(&self.dictionaries[column].texts, place) else { return };
            place += 1;
            let service = self.table.service_id(*resource as usize);
            if self.named.len() >= MAX_NAMED {
                // Those that come again are added again, which changes nothing.
                self.named.clear();
            }
            if self.named.insert((service, super::hash::of_bytes(0, name))) {
                let kind = self.table.template(*template).kind();
                let name = String::from_utf8_lossy(name);
                self.names.add_operation(self.table.templates.string(service), &name, kind as u8);
            }
        }
    }

    /// Ends the segment. On return its file is durable, and not yet in the catalog.
    pub(super) fn finish(mut self) -> Result<SegmentEntry, StoreError> {
        self.end_block(true)?;
        if self.group.blocks > 0 {
            self.end_group();
        }
        self.collect_names();
        let mut bytes = Vec::new();
        self.table.put(&mut bytes);
        self.footer.table = self.compressed_section(&bytes);

        bytes.clear();
        for dictionary in &self.dictionaries {
            put_varint(&mut bytes, dictionary.texts.len() as u64);
            put_texts(&mut self.zstd, &dictionary.texts, &mut bytes);
        }
        self.footer.dictionaries = self.section(&bytes);

        bytes.clear();
        self.names.put(&mut bytes);
        self.footer.names = self.compressed_section(&bytes);

        bytes.clear();
        std::mem::take(&mut self.postings).put(self.table.templates.strings(), &mut bytes);
        self.footer.postings = Some(self.compressed_section(&bytes));

        let (entries, places) = std::mem::take(&mut self.index).finish();
        self.footer.index = self.section(&entries);
        self.footer.places = places;
        let (lines, bits) = std::mem::take(&mut self.filter).finish();
        self.footer.filter = self.section(&bits);
        self.footer.filter_lines = lines;

        let start = self.pending.len();
        let footer = std::mem::take(&mut self.footer);
        footer.put(&mut self.pending);
        let length = (self.pending.len() - start) as u32;
        let checksum = crc32fast::hash(&self.pending[start..]);
        self.pending.extend_from_slice(&length.to_le_bytes());
        self.pending.extend_from_slice(&checksum.to_le_bytes());
        self.pending.extend_from_slice(MAGIC);
        debug_assert_eq!(self.pending.len() - start, length as usize + TAIL_BYTES);
        self.write_pending()?;
        self.file.sync().map_err(|error| self.io(error))?;
        let first = footer.blocks.iter().map(|block| block.first_start_unix_nano).min();
        let last = footer.blocks.iter().map(|block| block.last_start_unix_nano).max();
        Ok(SegmentEntry {
            number: self.number,
            tenant: footer.tenant,
            spans: footer.spans,
            bytes: self.written,
            first_start_unix_nano: first.unwrap_or(0),
            last_start_unix_nano: last.unwrap_or(0),
            first_date_unix_nano: footer.origin.dates.map(|(first, _)| first),
            last_date_unix_nano: footer.origin.dates.map(|(_, last)| last),
        })
    }

    fn section(&mut self, bytes: &[u8]) -> SectionPlace {
        let offset = self.written + self.pending.len() as u64;
        self.pending.extend_from_slice(bytes);
        SectionPlace { offset, length: bytes.len() as u64, checksum: crc32fast::hash(bytes) }
    }

    fn compressed_section(&mut self, bytes: &[u8]) -> SectionPlace {
        let mut compressed = Vec::new();
        put_section(&mut self.zstd, bytes, &mut compressed);
        self.section(&compressed)
    }

    fn collect_names(&mut self) {
        let table = &self.table;
        for (service, spans) in &self.service_spans {
            self.names.add_spans(table.templates.string(*service), *spans);
        }
        for (service, template) in self.postings.pairs() {
            let span = table.template(template);
            let service = table.templates.string(service);
            if table.name_column(template).is_none() {
                self.names.add_operation(service, span.name(), span.kind() as u8);
            }
            for (key, _) in span.attributes().iter() {
                self.names.add_key(service, AttributeScope::Span, key);
            }
            for (key, _) in span.scope_attributes() {
                self.names.add_key(service, AttributeScope::Scope, key);
            }
            // Of attributes that lie together in one column, the keys are not compared.
            if table.variables[template as usize].iter().any(|variable| variable.place == Place::Attributes) {
                self.names.leave_out_keys(service);
            }
        }
        for resource in table.templates.resources() {
            let service = table.templates.string(resource.service);
            for (key, _) in &resource.attributes {
                self.names.add_key(service, AttributeScope::Resource, table.templates.string(*key));
            }
        }
    }

    /// Names of the parts that lie encoded in columns, which whoever fills them knows.
    pub(super) fn names(&mut self) -> &mut Names {
        &mut self.names
    }
}

/// Keys of kinds and status codes, by their names.
pub(super) const KIND_KEY: &str = "\0kind";
pub(super) const STATUS_KEY: &str = "\0status";

/// Keys that no attribute has, for the filter's sake.
pub(super) fn special_key(part: &Part) -> &'static str {
    match part {
        Part::Name => "\0name",
        Part::StatusMessage => "\0status_message",
        _ => "\0",
    }
}

fn shared_hashes<'a>(table: &'a Table, attributes: &'a [(StrId, Value)]) -> impl Iterator<Item = u64> + 'a {
    attributes.iter().filter_map(move |(key, value)| {
        let key = filter::of_key(table.templates.string(*key));
        match value {
            Value::Str(id) => Some(filter::of_text(key, table.templates.string(*id).as_bytes())),
            Value::Int(number) => Some(filter::of_int(key, *number)),
            _ => None,
        }
    })
}

/// The hashes of a template's name, message, and constant attributes.
fn constant_hashes(table: &Table, template: u32) -> Vec<u64> {
    let span = table.template(template);
    let attributes = span.attributes();
    let pairs: Vec<(StrId, Value)> =
        attributes.raw_keys().iter().copied().zip(attributes.raw_values().iter().copied()).collect();
    let mut hashes: Vec<u64> = shared_hashes(table, &pairs).collect();
    hashes.extend(shared_hashes(table, &span.scope().attributes));
    let part = |part: Part, text: &str| filter::of_text(filter::of_key(special_key(&part)), text.as_bytes());
    hashes.push(part(Part::Name, span.name()));
    hashes.push(part(Part::StatusMessage, span.status_message()));
    hashes.push(filter::of_text(filter::of_key(KIND_KEY), span.kind().as_str().as_bytes()));
    hashes.push(filter::of_text(filter::of_key(STATUS_KEY), span.status_code().as_str().as_bytes()));
    hashes
}
