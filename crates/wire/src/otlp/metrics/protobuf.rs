//! Field numbers are those of opentelemetry/proto/metrics/v1.

use tracewell_model::UNKNOWN_SERVICE;

use super::{Known, Number, Points, Raw, Resource, cut, hash, known};
use crate::DecodeError;
use crate::protobuf::{Broken, Fields, Payload};

enum Stop {
    Broken(Broken),
    Limit(DecodeError),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

pub(super) fn request(body: &[u8], points: &mut Points<'_>) -> Result<(), DecodeError> {
    each(body, 1, "resource_metrics is not a message", |message| resource_metrics(message, points)).map_err(|stop| {
        match stop {
            Stop::Broken(Broken(what)) => DecodeError::Malformed(format!("the body is not OTLP protobuf: {what}")),
            Stop::Limit(error) => error,
        }
    })
}

/// Calls `with` for every message in this field.
fn each<'a>(
    message: &'a [u8],
    field: u32,
    otherwise: &'static str,
    mut with: impl FnMut(&'a [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut fields = Fields::new(message);
    while let Some((number, payload)) = fields.next()? {
        match payload {
            Payload::Bytes(bytes) if number == field => with(bytes)?,
            _ if number == field => return Err(Broken(otherwise).into()),
            _ => {}
        }
    }
    Ok(())
}

fn resource_metrics(message: &[u8], points: &mut Points<'_>) -> Result<(), Stop> {
    let mut resource = Resource { service: UNKNOWN_SERVICE.to_owned(), hash: 0 };
    // It may stand behind its metrics, so it is looked for first.
    each(message, 1, "resource is not a message", |bytes| {
        resource.hash = hash(&bytes);
        each(bytes, 1, "resource.attributes is not a message", |attribute| {
            if let ("service.name", service) = key_value(attribute)?
                && !service.is_empty()
            {
                resource.service = cut(service).to_owned();
            }
            Ok(())
        })
    })?;
    each(message, 2, "scope_metrics is not a message", |scope_metrics| {
        each(scope_metrics, 2, "metrics is not a message", |message| metric(message, &resource, points))
    })
}

fn metric(message: &[u8], resource: &Resource, points: &mut Points<'_>) -> Result<(), Stop> {
    let mut found = None;
    each(message, 1, "metric.name is not a text", |name| {
        found = known(text(name)?);
        Ok(())
    })?;
    let Some(known) = found else { return Ok(()) };
    let data = if known.is_histogram { 9 } else { 7 };
    each(message, data, "the data of a metric is not a message", |sum| {
        let mut is_delta = false;
        let mut fields = Fields::new(sum);
        while let Some(field) = fields.next()? {
            if let (2, Payload::Varint(temporality)) = field {
                is_delta = temporality == 1;
            }
        }
        each(sum, 1, "data_points is not a message", |message| {
            let raw = point(message, known)?;
            points.add(resource, known, is_delta, &raw).map_err(Stop::Limit)
        })
    })
}

/// A `NumberDataPoint`, or the sum of a `HistogramDataPoint`.
fn point(message: &[u8], known: Known) -> Result<Raw<'_>, Stop> {
    let mut raw = Raw::default();
    let attributes = if known.is_histogram { 9 } else { 7 };
    let mut fields = Fields::new(message);
    while let Some((number, payload)) = fields.next()? {
        match payload {
            Payload::Bytes(bytes) if number == attributes => {
                raw.attributes_hash = hash(&(raw.attributes_hash, bytes));
                match key_value(bytes)? {
                    ("error.type", value) => raw.reason = value,
                    ("otel.component.type", value) => raw.component_type = value,
                    _ => {}
                }
            }
            Payload::Fixed64(nanos) if number == 2 => raw.start_unix_nano = nanos,
            Payload::Fixed64(nanos) if number == 3 => raw.time_unix_nano = nanos,
            Payload::Fixed64(bits) if known.is_histogram && number == 5 => {
                raw.value = Number::Double(f64::from_bits(bits))
            }
            Payload::Fixed64(bits) if !known.is_histogram && number == 4 => {
                raw.value = Number::Double(f64::from_bits(bits))
            }
            Payload::Fixed64(bits) if !known.is_histogram && number == 6 => raw.value = Number::Int(bits as i64),
            _ => {}
        }
    }
    Ok(raw)
}

/// Key and value of a `KeyValue`; a value that is not a text is empty.
fn key_value(message: &[u8]) -> Result<(&str, &str), Stop> {
    let (mut key, mut value) = ("", "");
    each(message, 1, "a key is not a text", |bytes| {
        key = text(bytes)?;
        Ok(())
    })?;
    each(message, 2, "a value is not a message", |bytes| {
        each(bytes, 1, "string_value is not a text", |bytes| {
            value = text(bytes)?;
            Ok(())
        })
    })?;
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<&str, Stop> {
    std::str::from_utf8(bytes).map_err(|_| Broken("a text is not UTF-8").into())
}
