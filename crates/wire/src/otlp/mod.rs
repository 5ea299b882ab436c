//! OTLP: `ExportTraceServiceRequest` in protobuf and JSON, in and out; of metrics, what SDKs tell of themselves.

pub(crate) mod decode;
mod encode;
pub(crate) mod json_decode;
mod json_encode;
pub mod metrics;
pub mod parts;
mod response;
pub(crate) mod split;

pub use encode::{ProtobufEncoder, encode_protobuf};
pub use json_encode::{JSON_END, JSON_START, JsonEncoder, encode_json};
pub use response::{Encoding, encode_response, encode_retry_status, encode_status, partial_success, status_message};
