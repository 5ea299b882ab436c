//! Middleware for everything that is a `tower::Service` of `http::Request`.

mod body;
mod client;
mod server;

pub use body::TracedBody;
pub use client::{ClientFuture, ClientLayer, ClientService};
pub use server::{RequestId, ServerFuture, ServerLayer, ServerService};

#[cfg(test)]
mod tests;
