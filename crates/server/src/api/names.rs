//! What there is to ask for: services, operations, attributes, and who calls whom.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tracewell_query::MAX_DEPENDENCY_SPANS;
use tracewell_store::{AttributeScope, Listed};

use super::error::ApiError;
use super::missing::{Asking, SaysComplete};
use super::params::Params;
use super::state::ApiState;
use crate::budget::Held;

/// Names in one answer: more than a person reads or a form completes.
const MAX_NAMES: usize = 10_000;

/// What a span takes of the memory while calls between services are counted.
const DEPENDENCY_SPAN_BYTES: usize = 130;

/// Values in one answer, unless asked otherwise, and at most.
const DEFAULT_VALUES: usize = 100;
const MAX_VALUES: usize = 1000;

/// Bytes of all names in one answer: a name may have 64 KiB.
const MAX_NAME_BYTES: usize = 16 << 20;

/// A list of names, and what was left out of it.
#[derive(Serialize)]
struct NamesView<T> {
    #[serde(flatten)]
    names: T,
    complete: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut_services: Vec<String>,
}

impl<T: Serialize> NamesView<T> {
    fn answer(mut self, state: &ApiState) -> Response {
        self.complete &= state.left_out.is_empty();
        (Extension(SaysComplete), Json(self)).into_response()
    }
}

/// The names that there is room for in an answer.
fn within<T>(listed: &mut Listed<T>, length: impl Fn(&T) -> usize) {
    let mut bytes = 0;
    let fits = |item: &&T| {
        bytes += length(item);
        bytes <= MAX_NAME_BYTES
    };
    let kept = listed.items.iter().take_while(fits).count();
    listed.complete &= kept == listed.items.len();
    listed.items.truncate(kept);
}

pub(crate) async fn services(Asking(state): Asking, params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        services: Vec<String>,
    }
    params.finish()?;
    let mut listed = state.store.services(&state.tenant).await?;
    within(&mut listed, String::len);
    let Listed { items: services, complete, cut_services } = listed;
    Ok(NamesView { names: View { services }, complete, cut_services }.answer(&state))
}

pub(crate) async fn operations(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        operations: Vec<OperationView>,
    }
    #[derive(Serialize)]
    struct OperationView {
        name: String,
        kind: &'static str,
    }
    let service = params.text("service")?;
    params.finish()?;
    let mut listed = state.store.operations(&state.tenant, service.as_deref(), MAX_NAMES).await?;
    within(&mut listed, |operation| operation.name.len());
    let Listed { items, complete, cut_services } = listed;
    let view =
        |operation: tracewell_store::Operation| OperationView { name: operation.name, kind: operation.kind.as_str() };
    let names = View { operations: items.into_iter().map(view).collect() };
    Ok(NamesView { names, complete, cut_services }.answer(&state))
}

pub(crate) async fn attributes(Asking(state): Asking, params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        attributes: Vec<AttributeView>,
    }
    #[derive(Serialize)]
    struct AttributeView {
        scope: &'static str,
        key: String,
    }
    params.finish()?;
    let mut listed = state.store.attribute_keys(&state.tenant, MAX_NAMES).await?;
    within(&mut listed, |(_, key)| key.len());
    let Listed { items, complete, cut_services } = listed;
    let view = |(scope, key)| AttributeView { scope: scope_name(scope), key };
    let names = View { attributes: items.into_iter().map(view).collect() };
    Ok(NamesView { names, complete, cut_services }.answer(&state))
}

pub(crate) async fn attribute_values(
    Asking(state): Asking,
    Path(key): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        values: Vec<String>,
        complete: bool,
    }
    let prefix = params.text("prefix")?.unwrap_or_default();
    let time = params.time_range(state.now_unix_nano())?;
    let limit = params.limit(DEFAULT_VALUES, MAX_VALUES)?;
    params.finish()?;
    let listed = state.store.attribute_values(&state.tenant, &key, &prefix, time, limit).await?;
    let complete = listed.complete && state.left_out.is_empty();
    Ok((Extension(SaysComplete), Json(View { values: listed.items, complete })).into_response())
}

pub(crate) async fn dependencies(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        dependencies: Vec<DependencyView>,
        complete: bool,
    }
    #[derive(Serialize)]
    struct DependencyView {
        parent: String,
        child: String,
        call_count: u64,
        error_count: u64,
    }
    let time = params.time_range(state.now_unix_nano())?;
    params.finish()?;
    let _held = hold_for_dependencies(&state).await?;
    let found = tracewell_query::dependencies(&*state.store, &state.tenant, time).await?;
    let view = |tracewell_query::Dependency { parent, child, call_count, error_count }| DependencyView {
        parent,
        child,
        call_count,
        error_count,
    };
    let dependencies = found.dependencies.into_iter().map(view).collect();
    let complete = found.complete && state.left_out.is_empty();
    Ok((Extension(SaysComplete), Json(View { dependencies, complete })).into_response())
}

/// Memory in which calls between services are counted.
pub(super) async fn hold_for_dependencies(state: &ApiState) -> Result<Held, ApiError> {
    let spans = state.store.stats(&state.tenant).await?.spans.min(MAX_DEPENDENCY_SPANS as u64) as usize;
    state.hold(spans * DEPENDENCY_SPAN_BYTES, state.deadline()).await.map_err(ApiError::busy)
}

fn scope_name(scope: AttributeScope) -> &'static str {
    match scope {
        AttributeScope::Any => "any",
        AttributeScope::Span => "span",
        AttributeScope::Resource => "resource",
        AttributeScope::Scope => "scope",
        AttributeScope::Event => "event",
    }
}
