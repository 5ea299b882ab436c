//! gRPC's status codes.

use crate::Side;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of what `grpc-status` says; one that is missing or no code is `UNKNOWN`, as it is to gRPC's clients.
pub(crate) fn name(status: Option<&str>) -> &'static str {
    let code = status.and_then(|status| status.parse::<usize>().ok());
    code.and_then(|code| NAMES.get(code)).copied().unwrap_or("UNKNOWN")
}

/// To a client everything but success is an error. To a server only what is its own fault, as the conventions list it.
pub(crate) fn is_error(side: Side, code: &str) -> bool {
    match side {
        Side::Client => code != "OK",
        Side::Server => {
            ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"].contains(&code)
        }
    }
}
