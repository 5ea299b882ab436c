//! What an OTLP receiver answers.

use serde_json::json;

use crate::protobuf::{Fields, Payload, put_message, put_number, put_text};

/// How an answer is written: as the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    /// The content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// An `ExportTraceServiceResponse`. `partial_success` is left out when nothing was refused and there is nothing to say,
/// as the OTLP specification asks.
pub fn encode_response(encoding: Encoding, rejected: u64, message: &str) -> Vec<u8> {
    let said = rejected > 0 || !message.is_empty();
    match encoding {
        Encoding::Protobuf => {
            let mut out = Vec::new();
            if said {
                put_message(&mut out, 1, |out| {
                    put_number(out, 1, rejected);
                    put_text(out, 2, message);
                });
            }
            out
        }
        Encoding::Json if said => {
            json!({ "partialSuccess": { "rejectedSpans": rejected.to_string(), "errorMessage": message } })
                .to_string()
                .into_bytes()
        }
        Encoding::Json => b"{}".to_vec(),
    }
}

/// A `google.rpc.Status`, which OTLP/HTTP sends with every error. `code` is a gRPC status code.
pub fn encode_status(encoding: Encoding, code: i32, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let mut out = Vec::new();
            put_number(&mut out, 1, code as u64);
            put_text(&mut out, 2, message);
            out
        }
        Encoding::Json => json!({ "code": code, "message": message }).to_string().into_bytes(),
    }
}

/// A protobuf `google.rpc.Status` with a `google.rpc.RetryInfo`: what goes into the details of a gRPC status that says when
/// to send again.
pub fn encode_retry_status(code: i32, message: &str, seconds: u32) -> Vec<u8> {
    let mut out = encode_status(Encoding::Protobuf, code, message);
    put_message(&mut out, 3, |any| {
        put_text(any, 1, "type.googleapis.com/google.rpc.RetryInfo");
        put_message(any, 2, |retry_info| put_message(retry_info, 1, |delay| put_number(delay, 1, seconds.into())));
    });
    out
}

/// How many spans a protobuf `ExportTraceServiceResponse` says were refused, and why; 0 and nothing if it does not say.
pub fn partial_success(response: &[u8]) -> (u64, String) {
    let (mut rejected, mut message) = (0, String::new());
    let mut fields = Fields::new(response);
    while let Ok(Some(field)) = fields.next() {
        let (1, Payload::Bytes(partial_success)) = field else { continue };
        let mut fields = Fields::new(partial_success);
        while let Ok(Some(field)) = fields.next() {
            match field {
                (1, Payload::Varint(number)) => rejected = number,
                (2, Payload::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    (rejected, message)
}

/// The message of a protobuf `google.rpc.Status`, if it has one.
pub fn status_message(status: &[u8]) -> Option<String> {
    let mut fields = Fields::new(status);
    let mut message = None;
    while let Some(field) = fields.next().ok()? {
        if let (2, Payload::Bytes(text)) = field {
            message = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    message
}
