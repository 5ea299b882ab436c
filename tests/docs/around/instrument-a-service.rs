async fn serve() -> crate::Result {
    Ok(())
}
BLOCK!();
// ---
BLOCK!();
// ---
use axum::routing::get;
async fn image() {}
fn example() {
    BLOCK!();
    let _: axum::Router = app;
}
// ---
fn answer(target: &str) -> u16 {
    200
}
fn example(method: &str, target: &str, headers: http::HeaderMap) {
    BLOCK!();
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
fn example() -> crate::Result {
    BLOCK!();
    tracewell.shutdown()?;
    Ok(())
}
// ---
use tracewell::OnEnd;
fn example() -> tracewell::Config {
    BLOCK!();
    config
}
// ---
use axum::body::Body;
use axum::routing::get;
use std::time::Duration;
use tower::ServiceExt as _;
use tracewell::ServerLayer;
async fn image(axum::extract::Path(id): axum::extract::Path<u32>) -> &'static str {
    tracewell::tag("image.id", id);
    tracewell::db::call("sqlite", "SELECT").collection("images").start().in_scope(|| "an image")
}
fn app() -> axum::Router {
    axum::Router::new().route("/images/{id}", get(image))
}
// The same test twice, as tests run: side by side.
#[cfg(test)]
async fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn the_test_of_the_page_passes_beside_another() {
    let (one, other) = tokio::join!(example(), example());
    one.unwrap();
    other.unwrap();
}
