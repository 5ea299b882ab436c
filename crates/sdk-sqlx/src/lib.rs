//! Tracewell's spans of queries made with sqlx
