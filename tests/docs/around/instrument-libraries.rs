fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
fn example() {
    BLOCK!();
}
// ---
async fn example(client: reqwest::Client, url: &str) -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
// A service that is at hand.
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient as CatalogClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use tonic::transport::{Channel, Server};
async fn example<Catalog: TraceService>(
    catalog: TraceServiceServer<Catalog>,
    address: std::net::SocketAddr,
    channel: Channel,
) -> crate::Result {
    BLOCK!();
    catalog.export(opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest::default()).await?;
    Ok(())
}
// ---
use sqlx::PgPool;
async fn example(url: &str) -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
struct Connection;
impl Connection {
    fn query_row(&self, query: &str, parameters: [u32; 1], read: fn()) -> crate::Result {
        unimplemented!()
    }
}
fn read() {}
fn example(connection: Connection, sql: &str) {
    BLOCK!();
}
// ---
use redis::AsyncCommands as _;
async fn example(client: redis::Client) -> crate::Result {
    BLOCK!();
    let title: String = connection.get("image:7").await?;
    Ok(())
}
// ---
use mongodb::options::ClientOptions;
async fn example(url: &str) -> crate::Result {
    BLOCK!();
    let _ = mongodb::Client::with_options(options)?;
    Ok(())
}
// ---
use object_store::aws::AmazonS3Builder;
async fn example() -> crate::Result {
    BLOCK!();
    let _: &dyn object_store::ObjectStore = &store;
    Ok(())
}
// ---
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
async fn example() -> crate::Result {
    BLOCK!();
    pods.get("gallery-7").await?;
    Ok(())
}
// ---
struct Record {
    headers: std::collections::BTreeMap<String, Vec<u8>>,
}
fn example(mut record: Record) {
    BLOCK!();
}
// ---
fn example() {
    BLOCK!();
}
