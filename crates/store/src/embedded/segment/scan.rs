//! Which rows of a segment a scan asks for: predicates are evaluated on templates, resources and dictionaries once, then
//! on their numbers; values are looked at only where these leave it open, and only in blocks that may hold some.

use std::collections::HashSet;

use tracewell_model::{SpanBatch, SpanKind, StrId, UNKNOWN_SERVICE, Value, ValueRef};
use tracewell_wire::otlp::parts::PartsDecoder;

use super::block::Chunk;
use super::coding::{Runs, Texts, Zstd};
use super::emit::TraceCursor;
use super::filter::{self, GROUP_BLOCKS};
use super::postings::Postings;
use super::read::{Block, Contents, Segment};
use super::rows::{Values, lasting_nanos};
use super::table::{Part, Place, Storage, ValueType, unzigzag};
use super::write::{KIND_KEY, STATUS_KEY, special_key};
use crate::embedded::damage::Tolerance;
use crate::scan::{Found, Source, Top};
use crate::{AttributeScope, Field, Literal, Op, Predicate, Scan, ScanPosition, StoreError};

/// A scan of one segment.
#[derive(Default)]
pub(super) struct Plan {
    conditions: Vec<Condition>,
    /// Spans must last so long at least, which whole blocks may not.
    least_nanos: u64,
    /// Groups of blocks that may have matching rows; empty for all.
    groups: Vec<bool>,
    /// Blocks that may, by what their rows have in common; empty for all.
    blocks: Vec<bool>,
    /// Templates of which rows may match; empty for all.
    templates: Vec<bool>,
}

/// A predicate, as far as it is decided by what spans share.
struct Condition {
    predicate: Predicate,
    templates: Vec<Answer>,
    resources: Vec<bool>,
    /// Columns to look at where a template leaves it open.
    columns: Vec<OpenColumn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    No,
    Yes,
    /// It depends on values that vary.
    Open,
}

struct OpenColumn {
    column: usize,
    /// How many values each template has in the column.
    uses: Vec<u8>,
    /// The column of counts, if the values are those of lists.
    counts: Option<usize>,
    /// For each text of the dictionary, whether it passes.
    passing: Option<Vec<bool>>,
}

impl Plan {
    /// `None` when no row of the segment can match.
    pub(super) fn new(
        segment: &Segment,
        contents: &Contents,
        scan: &Scan,
        tolerance: &Tolerance<'_>,
    ) -> Result<Option<Self>, StoreError> {
        let mut plan = Self::default();
        for predicate in &scan.predicates {
            if let (Field::DurationNanos, Op::Ge | Op::Gt | Op::Eq, Literal::Int(nanos)) =
                (&predicate.field, predicate.op, &predicate.value)
            {
                plan.least_nanos = plan.least_nanos.max(u64::try_from(*nanos).unwrap_or(0));
            }
            let condition = Condition::new(segment, contents, predicate)?;
            let possible = condition.predicate.field == Field::DurationNanos
                || condition.templates.iter().any(|answer| *answer != Answer::No)
                || condition.resources.contains(&true);
            if !possible {
                return Ok(None);
            }
            if let Some(hashes) = condition.hashes(contents) {
                let groups = segment.groups_with(&hashes, tolerance)?;
                if plan.groups.is_empty() {
                    plan.groups = groups;
                } else {
                    plan.groups.iter_mut().zip(groups).for_each(|(both, one)| *both &= one);
                }
                if !plan.groups.contains(&true) {
                    return Ok(None);
                }
            }
            plan.conditions.push(condition);
        }
        if !plan.conditions.is_empty()
            && let Some(postings) = segment.postings(contents, tolerance)?
        {
            let (blocks, templates) = plan.look_up(postings, contents, segment.footer.blocks.len());
            if !blocks.contains(&true) {
                return Ok(None);
            }
            plan.blocks = blocks;
            plan.templates = vec![false; contents.table.templates.len()];
            templates.into_iter().for_each(|template| plan.templates[template as usize] = true);
        }
        Ok(Some(plan))
    }

    /// The blocks that have rows of which nothing that they share with others says no, and these rows' templates.
    fn look_up(&self, postings: &Postings, contents: &Contents, blocks: usize) -> (Vec<bool>, Vec<u32>) {
        let table = &contents.table;
        let by_template = self.conditions.iter().filter(|condition| condition.predicate.field != Field::DurationNanos);
        // The services of which some resource passes; of the others it depends on the template.
        let conditions: Vec<(HashSet<&str>, &[Answer])> = by_template
            .map(|condition| {
                let passing = condition.resources.iter().enumerate().filter(|(_, passes)| **passes);
                (passing.map(|(resource, _)| table.service(resource)).collect(), &condition.templates[..])
            })
            .collect();
        postings.find(blocks, self.least_nanos, |service| {
            let left = conditions.iter().filter(|(services, _)| !services.contains(service));
            let left: Vec<&[Answer]> = left.map(|(_, templates)| *templates).collect();
            move |template| left.iter().all(|templates| templates[template as usize] != Answer::No)
        })
    }

    /// Whether a block may have matching rows, by what is known without reading it.
    pub(super) fn may_match(&self, segment: &Segment, block: usize) -> bool {
        self.groups.get(block / GROUP_BLOCKS).is_none_or(|may| *may)
            && self.blocks.get(block).is_none_or(|may| *may)
            && segment.footer.blocks[block].longest_nanos >= self.least_nanos
    }

    /// Offers the rows of a block that match and are of the scan.
    pub(super) fn find(
        &self,
        zstd: &mut Zstd,
        contents: &Contents,
        block: &mut Block<'_>,
        scan: &Scan,
        source: Source,
        top: &mut Top,
    ) -> Result<(), StoreError> {
        let mut candidates: Vec<usize> = if self.templates.is_empty() {
            (0..block.len()).collect()
        } else {
            block.load(zstd, Chunk::TEMPLATE)?;
            let templates = block.rows.template.iter().enumerate();
            templates.filter(|(_, template)| self.templates[**template as usize]).map(|(row, _)| row).collect()
        };
        for condition in &self.conditions {
            if candidates.is_empty() {
                break;
            }
            condition.narrow(zstd, contents, block, &mut candidates)?;
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let rows = Runs::of_places(&candidates);
        let starts = block.starts_of(zstd, &rows)?;
        let worst = top.worst().map(|position| position.start_unix_nano);
        let is_asked_for = |start: &u64| {
            scan.time.contains(*start)
                && scan.after.is_none_or(|after| *start <= after.start_unix_nano)
                && worst.is_none_or(|worst| *start >= worst)
        };
        if !starts.iter().any(is_asked_for) {
            return Ok(());
        }
        let span_ids = block.span_ids_of(&rows)?;
        let mut found = Vec::new();
        let mut traces = TraceCursor::default();
        for ((row, start), span_id) in rows.places().zip(starts).zip(span_ids) {
            if is_asked_for(&start) {
                let position = ScanPosition {
                    start_unix_nano: start,
                    trace_id: traces.at(block, row),
                    span_id: tracewell_model::SpanId::from_u64(span_id),
                };
                if scan.after.is_none_or(|after| position.order() > after.order()) {
                    found.push(Found { position, source, row: row as u32 });
                }
            }
        }
        top.offer(found);
        Ok(())
    }
}

impl Condition {
    fn new(segment: &Segment, contents: &Contents, predicate: &Predicate) -> Result<Self, StoreError> {
        let table = &contents.table;
        let passes = |value: ValueRef<'_>| predicate.op.passes(value, &predicate.value);
        let mut templates = vec![Answer::No; table.templates.len()];
        let mut resources = vec![false; table.resources.len()];
        let mut open: Vec<(Part, Option<Part>)> = Vec::new();
        let mut asks_spans = false;
        // Keys are compared as the table's numbers.
        let key_id = match &predicate.field {
            Field::Attribute(_, key) => table.templates.strings().find(key),
            _ => None,
        };
        let has = |attributes: &[(StrId, Value)]| {
            attributes.iter().any(|(known, value)| Some(*known) == key_id && passes(table.templates.value(*value)))
        };
        match &predicate.field {
            Field::DurationNanos => {}
            Field::Service => {
                for (pass, id) in resources.iter_mut().zip(&table.resources) {
                    let service = table.templates.resources()[id.index()].service;
                    *pass = passes(ValueRef::Str(table.templates.string(service)));
                }
            }
            Field::Name => open.push((Part::Name, None)),
            Field::StatusMessage => open.push((Part::StatusMessage, None)),
            Field::TraceState => open.push((Part::TraceState, None)),
            Field::EventName => open.push((Part::EventBody, Some(Part::Events))),
            Field::Kind | Field::Status | Field::ScopeName | Field::ScopeVersion => {}
            Field::Attribute(scope, key) => {
                let is = |part| *scope == AttributeScope::Any || *scope == part;
                if is(AttributeScope::Resource) && key_id.is_some() {
                    for (pass, id) in resources.iter_mut().zip(&table.resources) {
                        *pass = has(&table.templates.resources()[id.index()].attributes);
                    }
                }
                if is(AttributeScope::Span) {
                    asks_spans = true;
                    open.push((Part::Attribute(key.clone()), None));
                    open.push((Part::Attributes, None));
                }
                if is(AttributeScope::Event) && segment.names()?.has_event_key(key) {
                    open.push((Part::EventBody, Some(Part::Events)));
                }
            }
        }
        let mut columns = Vec::new();
        for (number, column) in table.columns.iter().enumerate() {
            if let Some((_, counts)) = open.iter().find(|(part, _)| *part == column.part) {
                columns.push(OpenColumn::new(contents, predicate, number, counts.as_ref()));
            }
        }
        columns.retain(|column| column.passing.as_ref().is_none_or(|passing| passing.contains(&true)));
        for (number, answer) in templates.iter_mut().enumerate() {
            let span = table.templates.span(number);
            let varies = |place: Place| table.variables[number].iter().any(|variable| variable.place == place);
            let constant = match &predicate.field {
                Field::DurationNanos | Field::Service | Field::EventName => false,
                Field::TraceState => !varies(Place::TraceState) && passes(ValueRef::Str(span.trace_state())),
                Field::ScopeName => passes(ValueRef::Str(table.templates.string(span.scope().name))),
                Field::ScopeVersion => passes(ValueRef::Str(table.templates.string(span.scope().version))),
                Field::Name => !varies(Place::Name) && passes(ValueRef::Str(span.name())),
                Field::StatusMessage => !varies(Place::StatusMessage) && passes(ValueRef::Str(span.status_message())),
                Field::Kind => passes(ValueRef::Str(span.kind().as_str())),
                Field::Status => passes(ValueRef::Str(span.status_code().as_str())),
                Field::Attribute(scope, _) => {
                    let is = |part| *scope == AttributeScope::Any || *scope == part;
                    let own = span.attributes();
                    let passes_at = |place: usize| {
                        Some(own.raw_keys()[place]) == key_id
                            && !varies(Place::Attribute(place as u32))
                            && passes(table.templates.value(own.raw_values()[place]))
                    };
                    (asks_spans && key_id.is_some() && (0..own.len()).any(passes_at))
                        || (is(AttributeScope::Scope) && has(&span.scope().attributes))
                }
            };
            let is_open = columns.iter().any(|column| {
                column.uses[number] > 0
                    || column.counts.is_some_and(|counts| {
                        table.variables[number].iter().any(|variable| variable.column as usize == counts)
                    })
            });
            *answer = match (constant, is_open) {
                (true, _) => Answer::Yes,
                (false, true) => Answer::Open,
                (false, false) => Answer::No,
            };
        }
        Ok(Self { predicate: predicate.clone(), templates, resources, columns })
    }

    /// The hashes of which the filter must know one where a row matches; `None` when it cannot tell.
    fn hashes(&self, contents: &Contents) -> Option<Vec<u64>> {
        if self.predicate.op != Op::Eq {
            return None;
        }
        let key = match &self.predicate.field {
            Field::Name => filter::of_key(special_key(&Part::Name)),
            Field::StatusMessage => filter::of_key(special_key(&Part::StatusMessage)),
            Field::Attribute(_, key) => filter::of_key(key),
            Field::Kind => filter::of_key(KIND_KEY),
            Field::Status => filter::of_key(STATUS_KEY),
            // Spans without a service are not known by it.
            Field::Service => match &self.predicate.value {
                Literal::Str(text) | Literal::Text(text) if text != UNKNOWN_SERVICE => filter::of_key("service.name"),
                _ => return None,
            },
            // These are rarely asked for, and the filter does not know them.
            Field::TraceState | Field::ScopeName | Field::ScopeVersion | Field::EventName => return None,
            Field::DurationNanos => return None,
        };
        let text = |text: &str| filter::of_text(key, text.as_bytes());
        let int = |number: i64| filter::of_int(key, number);
        let hashes = match &self.predicate.value {
            Literal::Str(wanted) => vec![text(wanted)],
            Literal::Text(wanted) => {
                let number = wanted.parse::<i64>().ok().filter(|number| number.to_string() == *wanted);
                std::iter::once(text(wanted)).chain(number.map(int)).collect()
            }
            Literal::Int(number) => vec![int(*number)],
            Literal::Double(_) | Literal::Bool(_) => return None,
        };
        // The filter knows texts and integers of columns that hardly repeat; anything else may match unseen.
        let known = self.columns.iter().all(|open| {
            let column = &contents.table.columns[open.column];
            open.counts.is_none()
                && match column.value_type {
                    ValueType::Str => true,
                    ValueType::Int => column.storage == Storage::RareNumber || !self.may_be_number(),
                    ValueType::Double => !self.may_be_number(),
                    ValueType::Bool => {
                        matches!(&self.predicate.value, Literal::Text(text) if text != "true" && text != "false")
                    }
                    ValueType::Bytes | ValueType::Nested => false,
                }
        });
        let constants = || {
            let Field::Attribute(_, key) = &self.predicate.field else { return true };
            let table = &contents.table.templates;
            let Some(key) = table.strings().find(key) else { return true };
            // A constant of another type that passes is not in the filter.
            let is_known = |(known, value): (&StrId, &Value)| {
                *known != key
                    || matches!(value, Value::Str(_) | Value::Int(_))
                    || !self.predicate.op.passes(table.value(*value), &self.predicate.value)
            };
            let all_known =
                |attributes: &[(StrId, Value)]| attributes.iter().all(|(known, value)| is_known((known, value)));
            let own = table.span_attributes();
            own.key.iter().zip(&own.value).all(is_known)
                && table.resources().iter().all(|resource| all_known(&resource.attributes))
                && table.scopes().iter().all(|scope| all_known(&scope.attributes))
        };
        (known && constants()).then_some(hashes)
    }

    fn may_be_number(&self) -> bool {
        match &self.predicate.value {
            Literal::Text(text) => text.parse::<f64>().is_ok(),
            Literal::Int(_) | Literal::Double(_) => true,
            Literal::Str(_) | Literal::Bool(_) => false,
        }
    }

    /// Strikes the rows that do not pass from the candidates.
    fn narrow(
        &self,
        zstd: &mut Zstd,
        contents: &Contents,
        block: &mut Block<'_>,
        candidates: &mut Vec<usize>,
    ) -> Result<(), StoreError> {
        if self.predicate.field == Field::DurationNanos {
            return self.narrow_by_duration(zstd, block, candidates);
        }
        block.load(zstd, Chunk::TEMPLATE)?;
        let by_resource = self.resources.contains(&true);
        if by_resource {
            block.load(zstd, Chunk::RESOURCE)?;
        }
        // Rows that what spans share leaves open.
        let mut open = Vec::new();
        candidates.retain(|row| {
            let passes = by_resource && self.resources[block.rows.resource[*row] as usize];
            match self.templates[block.rows.template[*row] as usize] {
                Answer::Yes => true,
                _ if passes => true,
                Answer::No => false,
                Answer::Open => {
                    open.push(*row);
                    true
                }
            }
        });
        if open.is_empty() {
            return Ok(());
        }
        let mut passing = vec![false; block.len()];
        for column in &self.columns {
            column.evaluate(zstd, contents, block, &self.predicate, &open, &mut passing)?;
        }
        let mut open = open.into_iter().peekable();
        candidates.retain(|row| open.next_if_eq(row).is_none() || passing[*row]);
        Ok(())
    }

    fn narrow_by_duration(
        &self,
        zstd: &mut Zstd,
        block: &mut Block<'_>,
        candidates: &mut Vec<usize>,
    ) -> Result<(), StoreError> {
        let passes = |nanos: u64| {
            let value = ValueRef::Int(i64::try_from(nanos).unwrap_or(i64::MAX));
            self.predicate.op.passes(value, &self.predicate.value)
        };
        let durations = block.durations_of(zstd, &Runs::of_places(candidates))?;
        // A span that ends before it starts lasts for no time, which only its start tells.
        let passes_empty = passes(0);
        let is_uncertain = |nanos: u64| passes(nanos) != passes_empty;
        let pairs = || candidates.iter().copied().zip(durations.iter().copied());
        let uncertain: Vec<usize> = pairs().filter(|(_, nanos)| is_uncertain(*nanos)).map(|(row, _)| row).collect();
        let starts =
            if uncertain.is_empty() { Vec::new() } else { block.starts_of(zstd, &Runs::of_places(&uncertain))? };
        let mut starts = starts.into_iter();
        let passing = pairs().filter(|(_, nanos)| {
            let start = if is_uncertain(*nanos) { starts.next().unwrap_or(0) } else { 0 };
            passes(lasting_nanos(start, *nanos))
        });
        *candidates = passing.map(|(row, _)| row).collect();
        Ok(())
    }
}

impl OpenColumn {
    fn new(contents: &Contents, predicate: &Predicate, column: usize, counts: Option<&Part>) -> Self {
        let table = &contents.table;
        let uses = table.variables.iter().map(|variables| {
            variables.iter().filter(|variable| variable.column as usize == column).count().min(255) as u8
        });
        let known = &table.columns[column];
        let passing = (known.storage == Storage::Dictionary).then(|| {
            let dictionary: &Texts = &contents.dictionaries[column];
            dictionary.iter().map(|text| text_passes(predicate, &known.part, known.value_type, text)).collect()
        });
        Self {
            column,
            uses: uses.collect(),
            counts: counts.and_then(|part| table.column(part)).map(|column| column as usize),
            passing,
        }
    }

    /// Marks the rows, of those that are open, one of whose values in this column passes.
    fn evaluate(
        &self,
        zstd: &mut Zstd,
        contents: &Contents,
        block: &mut Block<'_>,
        predicate: &Predicate,
        open: &[usize],
        passing: &mut [bool],
    ) -> Result<(), StoreError> {
        block.load_column(zstd, contents, self.column)?;
        if let Some(counts) = self.counts {
            block.load_column(zstd, contents, counts)?;
        }
        let known = &contents.table.columns[self.column];
        let values = &block.rows.values[self.column];
        let passes = |place: usize| match values {
            Values::Codes(codes) => codes
                .get(place)
                .is_some_and(|code| self.passing.as_ref().is_some_and(|passing| passing[*code as usize])),
            Values::Texts(texts) => {
                place < texts.len() && text_passes(predicate, &known.part, known.value_type, texts.get(place))
            }
            Values::Numbers(numbers) => numbers.get(place).is_some_and(|number| {
                let value = match known.value_type {
                    ValueType::Bool => ValueRef::Bool(*number != 0),
                    ValueType::Double => ValueRef::Double(f64::from_bits(*number)),
                    _ => ValueRef::Int(unzigzag(*number)),
                };
                predicate.op.passes(value, &predicate.value)
            }),
        };
        let (mut place, mut count_place) = (0, 0);
        let mut open = open.iter().peekable();
        for (row, template) in block.rows.template.iter().enumerate() {
            let uses = match self.counts {
                None => usize::from(self.uses[*template as usize]),
                Some(counts) => {
                    let has = contents.table.variables[*template as usize]
                        .iter()
                        .any(|variable| variable.column as usize == counts);
                    if has {
                        count_place += 1;
                        count_at(&block.rows.values[counts], count_place - 1)
                    } else {
                        0
                    }
                }
            };
            if open.next_if(|next| **next == row).is_some() && uses > 0 {
                passing[row] |= (place..place + uses).any(passes);
            }
            place += uses;
        }
        Ok(())
    }
}

pub(super) fn count_at(values: &Values, place: usize) -> usize {
    match values {
        Values::Numbers(numbers) => numbers.get(place).map_or(0, |count| unzigzag(*count) as usize),
        Values::Codes(_) | Values::Texts(_) => 0,
    }
}

/// Whether a text, or what it encodes, passes.
fn text_passes(predicate: &Predicate, part: &Part, value_type: ValueType, text: &[u8]) -> bool {
    let key = || match &predicate.field {
        Field::Attribute(_, key) => key.clone(),
        _ => String::new(),
    };
    match part {
        // Encoded as they are, these are decoded as a whole span each and asked as every span is.
        Part::Attributes | Part::EventBody => {
            let mut decoder = PartsDecoder::default();
            let scope = if *part == Part::EventBody { AttributeScope::Event } else { AttributeScope::Span };
            let read = if *part == Part::EventBody {
                decoder.event(text, 0)
            } else {
                let mut attributes = Vec::new();
                decoder.attributes(text, &mut attributes).map(|()| {
                    attributes.iter().for_each(|(key, value)| decoder.batch().push_attribute(*key, *value));
                })
            };
            let mut batch: SpanBatch = decoder.into_batch();
            let (resource, own_scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
            batch.push_span(tracewell_model::NewSpan {
                kind: SpanKind::Unspecified,
                ..tracewell_model::NewSpan::new(resource, own_scope)
            });
            let field = match &predicate.field {
                Field::EventName => Field::EventName,
                _ => Field::Attribute(scope, key()),
            };
            let asked = Predicate { field, ..predicate.clone() };
            read.is_ok() && asked.matches(batch.span(0))
        }
        _ => {
            let value = match value_type {
                ValueType::Bytes => ValueRef::Bytes(text),
                ValueType::Nested => ValueRef::Nested(text),
                _ => match std::str::from_utf8(text) {
                    Ok(text) => ValueRef::Str(text),
                    Err(_) => return false,
                },
            };
            predicate.op.passes(value, &predicate.value)
        }
    }
}
