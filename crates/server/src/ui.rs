//! The web pages, embedded.

use axum::Router;

/// Serves the pages.
pub fn router() -> Router {
    Router::new()
}
