//! How columns become bytes: each function's inverse stands beside it. docs/format.md describes the same bytes.

mod bytes;
mod numbers;
mod runs;
#[cfg(test)]
mod tests;
mod texts;

pub(super) use bytes::{Borrowed, Zstd};
pub(crate) use bytes::{Damaged, Input, put_varint};
pub(super) use bytes::{get_bytes, put_bytes};
pub(super) use numbers::{get_codes, get_numbers, put_codes, put_numbers};
pub(super) use runs::Runs;
pub(super) use texts::{Texts, get_texts, put_texts};
