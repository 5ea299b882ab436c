async fn serve() -> crate::Result {
    Ok(())
}
BLOCK!();
// ---
use axum::routing::get;
async fn image() {}
fn example() {
    BLOCK!();
    let _: axum::Router = app;
}
// ---
async fn example(
    hyper_client: impl tower::Service<http::Request<String>, Response = http::Response<String>, Error = std::io::Error> + Clone,
    request: http::Request<String>,
) -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
fn send(url: &str, headers: http::HeaderMap) -> std::io::Result<http::Response<()>> {
    unimplemented!()
}
fn example(url: &str) {
    BLOCK!();
}
// ---
struct Connection;
impl Connection {
    fn query_row(&self, query: &str, parameters: [u32; 1], read: fn()) -> crate::Result {
        unimplemented!()
    }
}
const QUERY: &str = "";
fn read_image() {}
fn example(connection: Connection, id: u32) -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
type Error = std::io::Error;
struct Image;
fn resize(image: &Image) {}
async fn upload(thumbnail: ()) -> crate::Result {
    Ok(())
}
async fn example(image: Image, id: u32) -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
use std::time::Duration;
use tracewell::ServerLayer;
fn app() -> axum::Router {
    axum::Router::new()
}
fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
