//! OTLP: `ExportTraceServiceRequest` in protobuf and JSON, in and out; of metrics, what SDKs tell of themselves.

pub(crate) mod decode;
mod encode;
pub(crate) mod json_decode;
mod json_encode;
pub mod metrics;
pub mod parts;
mod response;
pub(crate) mod split;

pub use encode::encode_protobuf;
pub use json_encode::{any_value_json, encode_json};
pub use response::{Encoding, encode_response, encode_retry_status, encode_status, partial_success, status_message};
