//! The same in OTLP's JSON mapping.

use std::borrow::Cow;

use tracewell_model::UNKNOWN_SERVICE;

use super::{Known, Number, Points, Raw, Resource, cut, hash, known};
use crate::DecodeError;
use crate::forms;
use crate::json::Json;
use crate::weigh::weigh;

/// Reads one JSON object; an empty body is an empty request.
pub(super) fn request(body: &[u8], points: &mut Points<'_>) -> Result<(), DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let malformed = |what: &dyn std::fmt::Display| DecodeError::Malformed(format!("the body is not OTLP JSON: {what}"));
    // Metrics of SDKs are few and come once a minute, so a tree is good enough; what it takes is known before it is made.
    let tree_bytes = weigh(body, points.meter)?;
    points.hold(tree_bytes)?;
    let document: Json<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if !document.is_object() {
        return Err(malformed(&"not an object"));
    }
    for resource_metrics in items(&document, &["resourceMetrics", "resource_metrics"], points)? {
        let resource = resource(resource_metrics, points)?;
        for scope_metrics in items(resource_metrics, &["scopeMetrics", "scope_metrics"], points)? {
            for metric in items(scope_metrics, &["metrics"], points)? {
                self::metric(metric, &resource, points)?;
            }
        }
    }
    Ok(())
}

/// The objects of a list. What is no list at a request's heart is no OTLP.
fn items<'a>(message: &'a Json<'a>, names: &[&str], points: &mut Points<'_>) -> Result<Vec<&'a Json<'a>>, DecodeError> {
    let value = forms::get(message, names);
    if value.is_some_and(|value| !value.is_array()) {
        return Err(DecodeError::Malformed(format!("{}: not a list", names[0])));
    }
    Ok(forms::objects(value, &mut points.report, names[0]))
}

fn resource(message: &Json<'_>, points: &mut Points<'_>) -> Result<Resource, DecodeError> {
    let mut resource = Resource { service: UNKNOWN_SERVICE.to_owned(), hash: 0 };
    let Some(message) = forms::get(message, &["resource"]) else { return Ok(resource) };
    resource.hash = hash(&message.to_string());
    for attribute in forms::objects(forms::get(message, &["attributes"]), &mut points.report, "resource.attributes") {
        let (key, service) = key_value(attribute);
        if key == "service.name" && !service.is_empty() {
            resource.service = cut(&service).to_owned();
        }
    }
    Ok(resource)
}

fn metric(message: &Json<'_>, resource: &Resource, points: &mut Points<'_>) -> Result<(), DecodeError> {
    let name = forms::text(forms::get(message, &["name"])).or_note(&mut points.report, "metric.name");
    let Some(known) = known(&name) else { return Ok(()) };
    let data = if known.is_histogram { "histogram" } else { "sum" };
    let Some(sum) = forms::get(message, &[data]) else { return Ok(()) };
    let temporality = forms::get(sum, &["aggregationTemporality", "aggregation_temporality"]);
    let is_delta = match temporality {
        Some(Json::String(name)) if name.to_ascii_uppercase().ends_with("DELTA") => true,
        Some(number) => forms::int(number) == Some(1),
        None => false,
    };
    let data_points = forms::get(sum, &["dataPoints", "data_points"]);
    for message in forms::objects(data_points, &mut points.report, "metric.data_points") {
        point(message, known, is_delta, resource, points)?;
    }
    Ok(())
}

fn point(
    message: &Json<'_>,
    known: Known,
    is_delta: bool,
    resource: &Resource,
    points: &mut Points,
) -> Result<(), DecodeError> {
    let mut nanos = |names: &[&str; 2]| {
        forms::unsigned(forms::get(message, names)).or_note(&mut points.report, &format!("metric.{}", names[1]))
    };
    let start_unix_nano = nanos(&["startTimeUnixNano", "start_time_unix_nano"]);
    let time_unix_nano = nanos(&["timeUnixNano", "time_unix_nano"]);
    let (mut reason, mut component_type) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut attributes_hash = 0;
    for attribute in forms::objects(forms::get(message, &["attributes"]), &mut points.report, "metric.attributes") {
        attributes_hash = hash(&(attributes_hash, attribute.to_string()));
        let (key, value) = key_value(attribute);
        match &*key {
            "error.type" => reason = value,
            "otel.component.type" => component_type = value,
            _ => {}
        }
    }
    let double = |names: &[&str]| forms::get(message, names).and_then(forms::double).map(Number::Double);
    let value = if known.is_histogram {
        double(&["sum"])
    } else {
        let whole = forms::get(message, &["asInt", "as_int"]).and_then(forms::int).map(Number::Int);
        whole.or_else(|| double(&["asDouble", "as_double"])).or_else(|| double(&["asInt", "as_int"]))
    };
    let value = value.unwrap_or_else(|| {
        points.report.note("metric: no number, left out".to_owned(), 1);
        Number::None
    });
    let raw = Raw {
        reason: &reason,
        component_type: &component_type,
        attributes_hash,
        value,
        start_unix_nano,
        time_unix_nano,
    };
    points.add(resource, known, is_delta, &raw)
}

/// Key and value of an attribute; a value that is not a text is empty.
fn key_value<'a>(attribute: &'a Json<'a>) -> (Cow<'a, str>, Cow<'a, str>) {
    let value = forms::get(attribute, &["value"]).and_then(|value| forms::get(value, &["stringValue", "string_value"]));
    (forms::text(forms::get(attribute, &["key"])).value, forms::text(value).value)
}
