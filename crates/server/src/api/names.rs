//! What there is to ask for: services, operations, attributes, and who calls whom.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tracewell_store::AttributeScope;

use super::error::ApiError;
use super::missing::{Asking, SaysComplete};
use super::params::Params;

/// Names in one answer: more than a person reads or a form completes.
const MAX_NAMES: usize = 10_000;

/// Values in one answer, unless asked otherwise, and at most.
const DEFAULT_VALUES: usize = 100;
const MAX_VALUES: usize = 1000;

pub(crate) async fn services(Asking(state): Asking, params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        services: Vec<String>,
    }
    params.finish()?;
    Ok(Json(View { services: state.store.services(&state.tenant).await? }).into_response())
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
    let operations = state.store.operations(&state.tenant, service.as_deref(), MAX_NAMES).await?;
    let view =
        |operation: tracewell_store::Operation| OperationView { name: operation.name, kind: operation.kind.as_str() };
    Ok(Json(View { operations: operations.into_iter().map(view).collect() }).into_response())
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
    let keys = state.store.attribute_keys(&state.tenant, MAX_NAMES).await?;
    let view = |(scope, key)| AttributeView { scope: scope_name(scope), key };
    Ok(Json(View { attributes: keys.into_iter().map(view).collect() }).into_response())
}

pub(crate) async fn attribute_values(
    Asking(state): Asking,
    Path(key): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        values: Vec<String>,
    }
    let prefix = params.text("prefix")?.unwrap_or_default();
    let time = params.time_range(state.now_unix_nano())?;
    let limit = params.limit(DEFAULT_VALUES, MAX_VALUES)?;
    params.finish()?;
    let values = state.store.attribute_values(&state.tenant, &key, &prefix, time, limit).await?;
    Ok(Json(View { values }).into_response())
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

fn scope_name(scope: AttributeScope) -> &'static str {
    match scope {
        AttributeScope::Any => "any",
        AttributeScope::Span => "span",
        AttributeScope::Resource => "resource",
        AttributeScope::Scope => "scope",
        AttributeScope::Event => "event",
    }
}
