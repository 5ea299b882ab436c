//! Where the parts of an OTLP JSON request lie in its body: sixteen bytes for each span, whatever it says.
//!
//! What is read is counted before it is kept. A list holds objects: `null` among them is nothing, and anything else refuses
//! the request by its place, before a single one of millions of zeros becomes something.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::reader::{Object, ReadObject, Shape, pass_over};
use crate::meter::Meter;
use crate::{DecodeError, Limits};

/// The skeleton's size is told whenever it has grown by so much.
const TOLD_BYTES: usize = 64 * 1024;

/// A whole request.
#[derive(Default)]
pub(super) struct Document<'a> {
    resource_spans: Either<Vec<ResourceSpans<'a>>>,
    batches: Either<Vec<ResourceSpans<'a>>>,
}

/// What one resource did.
#[derive(Default)]
pub(super) struct ResourceSpans<'a> {
    resource: Either<&'a RawValue>,
    schema_url: Either<&'a RawValue>,
    scope_spans: Either<Vec<ScopeSpans<'a>>>,
    library_spans: Either<Vec<ScopeSpans<'a>>>,
}

/// What one scope recorded.
#[derive(Default)]
pub(super) struct ScopeSpans<'a> {
    scope: Either<&'a RawValue>,
    library: Either<&'a RawValue>,
    schema_url: Either<&'a RawValue>,
    spans: Either<Vec<&'a RawValue>>,
    /// Whether it is called by its older name.
    is_library: bool,
}

impl<'a> Document<'a> {
    pub(super) fn resource_spans(&self) -> impl Iterator<Item = &ResourceSpans<'a>> {
        self.resource_spans.items().chain(self.batches.items())
    }
}

impl<'a> ResourceSpans<'a> {
    pub(super) fn resource(&self) -> Option<&'a RawValue> {
        self.resource.get().copied()
    }

    pub(super) fn schema_url(&self) -> Option<&'a RawValue> {
        self.schema_url.get().copied()
    }

    pub(super) fn scope_spans(&self) -> impl Iterator<Item = &ScopeSpans<'a>> {
        self.scope_spans.items().chain(self.library_spans.items())
    }
}

impl<'a> ScopeSpans<'a> {
    pub(super) fn scope(&self) -> Option<&'a RawValue> {
        if self.is_library { &self.library } else { &self.scope }.get().copied()
    }

    pub(super) fn schema_url(&self) -> Option<&'a RawValue> {
        self.schema_url.get().copied()
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = &'a RawValue> {
        self.spans.items().copied()
    }
}

/// A field under either of its names, the newer first. Of one that is there twice the last counts.
struct Either<T> {
    camel: Option<T>,
    snake: Option<T>,
}

impl<T> Default for Either<T> {
    fn default() -> Self {
        Self { camel: None, snake: None }
    }
}

impl<T> Either<T> {
    fn get(&self) -> Option<&T> {
        self.camel.as_ref().or(self.snake.as_ref())
    }
}

impl<T> Either<Vec<T>> {
    fn items(&self) -> impl Iterator<Item = &T> {
        self.get().into_iter().flatten()
    }
}

/// What the skeleton holds, counted while it is made.
pub(super) struct Counter<'m> {
    limits: &'m Limits,
    meter: &'m mut dyn Meter,
    pub(super) bytes: usize,
    told_bytes: usize,
    spans: u64,
    /// Why the request is refused, if it is for another reason than its syntax.
    pub(super) over: Option<DecodeError>,
}

impl<'m> Counter<'m> {
    pub(super) fn new(limits: &'m Limits, meter: &'m mut dyn Meter) -> Self {
        Self { limits, meter, bytes: 0, told_bytes: 0, spans: 0, over: None }
    }

    fn keep<T, E: Error>(&mut self) -> Result<(), E> {
        // A list that has just grown has room for as many again.
        self.bytes += 2 * size_of::<T>();
        if self.bytes >= self.told_bytes + TOLD_BYTES {
            self.told_bytes = self.bytes;
            if let Err(over) = self.meter.reach(self.bytes) {
                return Err(self.stop(over));
            }
        }
        Ok(())
    }

    fn span<E: Error>(&mut self) -> Result<(), E> {
        self.spans += 1;
        if self.spans > u64::from(self.limits.spans_per_request) {
            return Err(self.stop(DecodeError::LimitExceeded(format!(
                "the request has more than {} spans (limit --spans-per-request)",
                self.limits.spans_per_request
            ))));
        }
        Ok(())
    }

    fn stop<E: Error>(&mut self, over: DecodeError) -> E {
        self.over = Some(over);
        E::custom("over a limit")
    }
}

/// Reads the request.
pub(super) fn read<'a>(body: &'a [u8], counter: &mut Counter<'_>) -> Result<Document<'a>, serde_json::Error> {
    let mut document = Filled { message: Document::default(), counter };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    if ReadObject(&mut document).deserialize(&mut deserializer)? != Shape::Expected {
        return Err(Error::custom("not an object"));
    }
    deserializer.end()?;
    Ok(document.message)
}

/// A message of which some fields are looked at.
trait Message<'a>: Default {
    const NAME: &'static str;

    /// Takes a field, or passes over it.
    fn field<M: MapAccess<'a>>(&mut self, name: &str, counter: &mut Counter<'_>, map: &mut M) -> Result<(), M::Error>;
}

/// A message that is being read.
struct Filled<'c, 'm, T> {
    message: T,
    counter: &'c mut Counter<'m>,
}

impl<'a, T: Message<'a>> Object<'a> for Filled<'_, '_, T> {
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        self.message.field(name, self.counter, map)
    }
}

impl<'a> Message<'a> for Document<'a> {
    const NAME: &'static str = "";

    fn field<M: MapAccess<'a>>(&mut self, name: &str, counter: &mut Counter<'_>, map: &mut M) -> Result<(), M::Error> {
        match name {
            "resourceSpans" => self.resource_spans.camel = Some(list(counter, map)?),
            "resource_spans" => self.resource_spans.snake = Some(list(counter, map)?),
            "batches" => self.batches.camel = Some(list(counter, map)?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

impl<'a> Message<'a> for ResourceSpans<'a> {
    const NAME: &'static str = "resourceSpans";

    fn field<M: MapAccess<'a>>(&mut self, name: &str, counter: &mut Counter<'_>, map: &mut M) -> Result<(), M::Error> {
        match name {
            "resource" => self.resource.camel = Some(map.next_value()?),
            "schemaUrl" => self.schema_url.camel = Some(map.next_value()?),
            "schema_url" => self.schema_url.snake = Some(map.next_value()?),
            "scopeSpans" => self.scope_spans.camel = Some(list(counter, map)?),
            "scope_spans" => self.scope_spans.snake = Some(list(counter, map)?),
            "instrumentationLibrarySpans" => self.library_spans.camel = Some(library_list(counter, map)?),
            "instrumentation_library_spans" => self.library_spans.snake = Some(library_list(counter, map)?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

impl<'a> Message<'a> for ScopeSpans<'a> {
    const NAME: &'static str = "scopeSpans";

    fn field<M: MapAccess<'a>>(&mut self, name: &str, counter: &mut Counter<'_>, map: &mut M) -> Result<(), M::Error> {
        match name {
            "scope" => self.scope.camel = Some(map.next_value()?),
            "instrumentationLibrary" => self.library.camel = Some(map.next_value()?),
            "instrumentation_library" => self.library.snake = Some(map.next_value()?),
            "schemaUrl" => self.schema_url.camel = Some(map.next_value()?),
            "schema_url" => self.schema_url.snake = Some(map.next_value()?),
            "spans" => self.spans.camel = Some(map.next_value_seed(SpanList { counter })?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

fn list<'a, T: Message<'a>, M: MapAccess<'a>>(counter: &mut Counter<'_>, map: &mut M) -> Result<Vec<T>, M::Error> {
    map.next_value_seed(ListOf { counter, items: PhantomData })
}

fn library_list<'a, M: MapAccess<'a>>(counter: &mut Counter<'_>, map: &mut M) -> Result<Vec<ScopeSpans<'a>>, M::Error> {
    let mut list: Vec<ScopeSpans<'a>> = list(counter, map)?;
    list.iter_mut().for_each(|scope| scope.is_library = true);
    Ok(list)
}

/// Reads a list of messages; `null` is an empty one.
struct ListOf<'c, 'm, T> {
    counter: &'c mut Counter<'m>,
    items: PhantomData<T>,
}

impl<'a, T: Message<'a>> DeserializeSeed<'a> for ListOf<'_, '_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, T: Message<'a>> Visitor<'a> for ListOf<'_, '_, T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list in {}", T::NAME)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        for place in 0usize.. {
            let mut filled = Filled { message: T::default(), counter: &mut *self.counter };
            match items.next_element_seed(ReadObject(&mut filled))? {
                None => break,
                Some(Shape::Null) => {}
                Some(Shape::Expected) => {
                    let Filled { message, counter } = filled;
                    counter.keep::<T, A::Error>()?;
                    list.push(message);
                }
                Some(Shape::Other) => {
                    return Err(A::Error::custom(format_args!("{}[{place}] is not an object", T::NAME)));
                }
            }
        }
        Ok(list)
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

/// Reads where spans are; each is looked into later, so that one that is broken is refused alone.
struct SpanList<'c, 'm> {
    counter: &'c mut Counter<'m>,
}

impl<'a> DeserializeSeed<'a> for SpanList<'_, '_> {
    type Value = Vec<&'a RawValue>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for SpanList<'_, '_> {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list in spans")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(span) = items.next_element::<&RawValue>()? {
            if span.get() != "null" {
                self.counter.span::<A::Error>()?;
                self.counter.keep::<&RawValue, A::Error>()?;
                list.push(span);
            }
        }
        Ok(list)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}
