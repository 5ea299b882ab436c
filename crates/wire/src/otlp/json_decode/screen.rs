//! A look through a long part of a body before it becomes a tree of values: whether it has more in it than is kept, and what
//! the tree takes.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};
use tracewell_model::SpanBatch;

use super::Refused;
use super::reader::{Items, Object, ReadList, ReadObject, Shape};
use crate::limits::Bound;
use crate::meter::Watch;
use crate::weigh::{Scales, Weigh};
use crate::{DecodeError, Limits};

/// What a part of the body is, by the names of what can be too many in it.
#[derive(Clone, Copy)]
pub(super) struct Part {
    attributes: &'static str,
    is_span: bool,
}

pub(super) const RESOURCE: Part = Part { attributes: "resource.attributes", is_span: false };
pub(super) const SCOPE: Part = Part { attributes: "scope.attributes", is_span: false };
pub(super) const SPAN: Part = Part { attributes: "span.attributes", is_span: true };
const EVENT: Part = Part { attributes: "span.events.attributes", is_span: false };
const LINK: Part = Part { attributes: "span.links.attributes", is_span: false };

/// A value is there twice for a while: in the tree, and as what goes into the batch.
const FORMS: usize = 2;

/// The reason is which list has too many items. Syntax is left to who makes the tree.
pub(super) fn screen(
    text: &str,
    part: Part,
    limits: &Limits,
    watch: &mut Watch<'_>,
    batch: &SpanBatch,
) -> Result<Result<(), Refused>, DecodeError> {
    let mut weigher = |bytes: usize| watch.hold(FORMS * bytes, batch);
    let mut scales = Scales::new(text.len(), &mut weigher);
    let mut screen = Screen { part, limits, scales: &mut scales, refused: None, has_entries: false };
    let read = ReadObject(&mut screen).deserialize(&mut serde_json::Deserializer::from_str(text));
    let refused = screen.refused.take();
    let (over, bytes) = (scales.over.take(), scales.bytes);
    match (over, refused) {
        (Some(over), _) => Err(over),
        (None, Some(reason)) => Ok(Err(reason)),
        // What is no JSON does not become a tree.
        (None, None) if read.is_err() => Ok(Ok(())),
        (None, None) => watch.hold(FORMS * bytes, batch).map(Ok),
    }
}

/// An object with lists that have a bound.
struct Screen<'s, 'm> {
    part: Part,
    limits: &'s Limits,
    scales: &'s mut Scales<'m>,
    refused: Option<Refused>,
    has_entries: bool,
}

impl<'a> Object<'a> for Screen<'_, '_> {
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        self.scales.entry(!std::mem::replace(&mut self.has_entries, true), name.len())?;
        let (bound, field, of) = match name {
            "attributes" => (self.limits.attributes(), self.part.attributes, None),
            "events" if self.part.is_span => (self.limits.events(), "span.events", Some(EVENT)),
            "links" if self.part.is_span => (self.limits.links(), "span.links", Some(LINK)),
            _ => return map.next_value_seed(Weigh(self.scales)),
        };
        let mut list = List { screen: self, bound, field, of, count: 0 };
        map.next_value_seed(ReadList(&mut list))?;
        Ok(())
    }
}

/// A list that has a bound.
struct List<'l, 's, 'm> {
    screen: &'l mut Screen<'s, 'm>,
    bound: Bound,
    field: &'static str,
    /// What its items are, if there are lists in these, too.
    of: Option<Part>,
    count: usize,
}

impl<'a> Items<'a> for List<'_, '_, '_> {
    fn item<S: SeqAccess<'a>>(&mut self, items: &mut S) -> Result<Option<()>, S::Error> {
        let Screen { limits, scales, refused, .. } = &mut *self.screen;
        let is_there = match self.of {
            None => items.next_element_seed(Weigh(scales))?.is_some(),
            Some(part) => {
                scales.value()?;
                let mut item = Screen { part, limits, scales, refused: None, has_entries: false };
                let shape: Option<Shape> = items.next_element_seed(ReadObject(&mut item))?;
                *refused = item.refused.take().or(refused.take());
                shape.is_some()
            }
        };
        if !is_there {
            return Ok(None);
        }
        self.count += 1;
        if let Err(reason) = self.bound.check_count(self.count, self.field) {
            refused.get_or_insert(reason);
        }
        if refused.is_some() {
            return Err(serde::de::Error::custom("over a limit"));
        }
        Ok(Some(()))
    }
}
