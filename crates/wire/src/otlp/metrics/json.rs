//! The same in OTLP's JSON mapping.

use serde_json::Value as Json;
use tracewell_model::UNKNOWN_SERVICE;

use super::{Known, Number, Points, Raw, Resource, cut, hash, known};
use crate::DecodeError;
use crate::otlp::json_decode::{get, int, list, nanos, text_of};

/// Reads one JSON object; an empty body is an empty request.
pub(super) fn request(body: &[u8], points: &mut Points) -> Result<(), DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let malformed = |what: &dyn std::fmt::Display| DecodeError::Malformed(format!("the body is not OTLP JSON: {what}"));
    let document: Json = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if !document.is_object() {
        return Err(malformed(&"not an object"));
    }
    for resource_metrics in items(&document, "resourceMetrics", "resource_metrics")? {
        let resource = resource(resource_metrics)?;
        for scope_metrics in items(resource_metrics, "scopeMetrics", "scope_metrics")? {
            for metric in items(scope_metrics, "metrics", "metrics")? {
                self::metric(metric, &resource, points)?;
            }
        }
    }
    Ok(())
}

fn items<'a>(message: &'a Json, camel: &str, snake: &str) -> Result<&'a [Json], DecodeError> {
    list(message, camel, snake).map_err(DecodeError::Malformed)
}

fn resource(message: &Json) -> Result<Resource, DecodeError> {
    let mut resource = Resource { service: UNKNOWN_SERVICE.to_owned(), hash: 0 };
    let Some(message) = get(message, "resource", "resource") else { return Ok(resource) };
    resource.hash = hash(&message.to_string());
    for attribute in items(message, "attributes", "attributes")? {
        if let ("service.name", service) = key_value(attribute)
            && !service.is_empty()
        {
            resource.service = cut(service).to_owned();
        }
    }
    Ok(resource)
}

fn metric(message: &Json, resource: &Resource, points: &mut Points) -> Result<(), DecodeError> {
    let name = text_of(message, "name", "name", "metric.name").map_err(DecodeError::Malformed)?;
    let Some(known) = known(name) else { return Ok(()) };
    let data = if known.is_histogram { "histogram" } else { "sum" };
    let Some(sum) = get(message, data, data) else { return Ok(()) };
    let is_delta = get(sum, "aggregationTemporality", "aggregation_temporality")
        .is_some_and(|value| value.as_u64() == Some(1) || value == "AGGREGATION_TEMPORALITY_DELTA");
    for message in items(sum, "dataPoints", "data_points")? {
        let raw = point(message, known)?;
        points.add(resource, known, is_delta, &raw)?;
    }
    Ok(())
}

fn point(message: &Json, known: Known) -> Result<Raw<'_>, DecodeError> {
    let nanos = |camel: &str, snake: &str| nanos(message, camel, snake, snake).map_err(DecodeError::Malformed);
    let mut raw = Raw {
        start_unix_nano: nanos("startTimeUnixNano", "start_time_unix_nano")?,
        time_unix_nano: nanos("timeUnixNano", "time_unix_nano")?,
        ..Raw::default()
    };
    for attribute in items(message, "attributes", "attributes")? {
        raw.attributes_hash = hash(&(raw.attributes_hash, attribute.to_string()));
        match key_value(attribute) {
            ("error.type", value) => raw.reason = value,
            ("otel.component.type", value) => raw.component_type = value,
            _ => {}
        }
    }
    let double = |camel: &str, snake: &str| {
        let value = get(message, camel, snake)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok()).map(Number::Double)
    };
    raw.value = if known.is_histogram {
        double("sum", "sum")
    } else {
        let whole = get(message, "asInt", "as_int").and_then(int).map(Number::Int);
        whole.or_else(|| double("asDouble", "as_double"))
    }
    .unwrap_or_default();
    Ok(raw)
}

/// Key and value of an attribute; a value that is not a text is empty.
fn key_value(attribute: &Json) -> (&str, &str) {
    let key = get(attribute, "key", "key").and_then(Json::as_str);
    let value = get(attribute, "value", "value").and_then(|value| get(value, "stringValue", "string_value")?.as_str());
    (key.unwrap_or(""), value.unwrap_or(""))
}
