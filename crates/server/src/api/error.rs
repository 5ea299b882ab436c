//! Errors as the native API tells them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracewell_query::QueryError;
use tracewell_store::StoreError;

/// How many seconds later it makes sense to try again.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What is wrong, and with which parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    /// The parameter to blame.
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

/// What the caller can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// Fix the request.
    InvalidArgument,
    /// Ask for something else.
    NotFound,
    /// Something that the answer needs cannot be read at the moment: try again later, or take a partial answer.
    Unavailable,
    /// Try again later, or ask for less.
    Busy,
    /// Tell the operator.
    Internal,
}

impl ApiError {
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { code: Code::InvalidArgument, field: Some(field.to_owned()), message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: Code::NotFound, field: None, message: message.into() }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { code: Code::Busy, field: None, message: message.into() }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { code: Code::Internal, field: None, message: message.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Busy | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) | StoreError::Closed => Self::busy(error.to_string()),
            StoreError::Unavailable(why) => Self {
                code: Code::Unavailable,
                field: None,
                message: format!("{why}; try again, or ask with partial=true for what can be read"),
            },
            StoreError::Invalid(message) | StoreError::TooLarge(message) => {
                Self { code: Code::InvalidArgument, field: None, message }
            }
            StoreError::Io { .. } | StoreError::Corrupt(_) => {
                // File names are for the operator, not for who asks.
                tracing::error!(%error, "a query failed");
                Self::internal("reading the store failed; the server's log says why")
            }
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::ForeignCursor => Self::invalid("cursor", error.to_string()),
            QueryError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: Code,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            message: &'a str,
        }
        let inner = Inner { code: self.code, field: self.field.as_deref(), message: &self.message };
        let mut response = (self.status(), Json(Body { error: inner })).into_response();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
