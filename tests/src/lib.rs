//! What the black-box tests share: starting the shipped binary, talking to it, and running real clients against it.
//!
//! Every process that a test starts is a child of it, has a bounded life and is stopped by its process id.

pub mod clients;
pub mod normal;
mod process;
pub mod protobuf;
pub mod raw;
mod server;

pub use process::{Child, OrSkip, wait_until, workspace};
pub use server::{Server, tracewell};
