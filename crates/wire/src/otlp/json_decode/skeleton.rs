//! Where the parts of an OTLP JSON request lie in its body: sixteen bytes for each span, whatever it says.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A whole request.
#[derive(Default)]
pub(super) struct Document<'a> {
    resource_spans: Either<List<ResourceSpans<'a>>>,
    batches: Either<List<ResourceSpans<'a>>>,
}

/// What one resource did.
#[derive(Default)]
pub(super) struct ResourceSpans<'a> {
    resource: Either<&'a RawValue>,
    schema_url: Either<&'a RawValue>,
    scope_spans: Either<List<ScopeSpans<'a>>>,
    library_spans: Either<List<ScopeSpans<'a>>>,
}

/// What one scope recorded.
#[derive(Default)]
pub(super) struct ScopeSpans<'a> {
    scope: Either<&'a RawValue>,
    library: Either<&'a RawValue>,
    schema_url: Either<&'a RawValue>,
    spans: Either<List<&'a RawValue>>,
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

impl<T> Either<List<T>> {
    fn items(&self) -> impl Iterator<Item = &T> {
        self.get().into_iter().flat_map(|list| &list.0)
    }
}

/// A list; `null` is an empty one.
struct List<T>(Vec<T>);

/// An object of which some fields are looked at.
trait Message<'a>: Default {
    /// What stands for something that is no object.
    fn of_other() -> Option<Self> {
        Some(Self::default())
    }

    /// Takes a field, or passes over it.
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error>;
}

impl<'a> Message<'a> for Document<'a> {
    fn of_other() -> Option<Self> {
        None
    }

    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match name {
            "resourceSpans" => self.resource_spans.camel = Some(list(name, map)?),
            "resource_spans" => self.resource_spans.snake = Some(list(name, map)?),
            "batches" => self.batches.camel = Some(list(name, map)?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

impl<'a> Message<'a> for ResourceSpans<'a> {
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match name {
            "resource" => self.resource.camel = Some(map.next_value()?),
            "schemaUrl" => self.schema_url.camel = Some(map.next_value()?),
            "schema_url" => self.schema_url.snake = Some(map.next_value()?),
            "scopeSpans" => self.scope_spans.camel = Some(list(name, map)?),
            "scope_spans" => self.scope_spans.snake = Some(list(name, map)?),
            "instrumentationLibrarySpans" => self.library_spans.camel = Some(library_list(name, map)?),
            "instrumentation_library_spans" => self.library_spans.snake = Some(library_list(name, map)?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

impl<'a> Message<'a> for ScopeSpans<'a> {
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match name {
            "scope" => self.scope.camel = Some(map.next_value()?),
            "instrumentationLibrary" => self.library.camel = Some(map.next_value()?),
            "instrumentation_library" => self.library.snake = Some(map.next_value()?),
            "schemaUrl" => self.schema_url.camel = Some(map.next_value()?),
            "schema_url" => self.schema_url.snake = Some(map.next_value()?),
            "spans" => self.spans.camel = Some(list(name, map)?),
            _ => pass_over(map)?,
        }
        Ok(())
    }
}

fn pass_over<'a, M: MapAccess<'a>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

fn list<'a, T: Deserialize<'a>, M: MapAccess<'a>>(name: &str, map: &mut M) -> Result<List<T>, M::Error> {
    map.next_value_seed(ListOf { name, items: PhantomData })
}

fn library_list<'a, M: MapAccess<'a>>(name: &str, map: &mut M) -> Result<List<ScopeSpans<'a>>, M::Error> {
    let mut list: List<ScopeSpans<'a>> = list(name, map)?;
    list.0.iter_mut().for_each(|scope| scope.is_library = true);
    Ok(list)
}

/// Reads the list that a field of this name holds.
struct ListOf<'n, T> {
    name: &'n str,
    items: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> DeserializeSeed<'a> for ListOf<'_, T> {
    type Value = List<T>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<List<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, T: Deserialize<'a>> Visitor<'a> for ListOf<'_, T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list in {}", self.name)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<List<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(List(list))
    }

    fn visit_unit<E: Error>(self) -> Result<List<T>, E> {
        Ok(List(Vec::new()))
    }
}

struct MessageVisitor<T>(PhantomData<T>);

impl<'a, T: Message<'a>> MessageVisitor<T> {
    fn other<E: Error>(self) -> Result<T, E> {
        T::of_other().ok_or_else(|| E::custom("not an object"))
    }
}

impl<'a, T: Message<'a>> Visitor<'a> for MessageVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<T, M::Error> {
        let mut message = T::default();
        while let Some(name) = map.next_key::<String>()? {
            message.field(&name, &mut map)?;
        }
        Ok(message)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.other()
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        self.other()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        self.other()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        self.other()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
        self.other()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        self.other()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<T, E> {
        self.other()
    }
}

macro_rules! messages {
    ($($message:ident),+) => {$(
        impl<'a> Deserialize<'a> for $message<'a> {
            fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(MessageVisitor(PhantomData))
            }
        }
    )+};
}

messages!(Document, ResourceSpans, ScopeSpans);
