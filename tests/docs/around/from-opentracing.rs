struct Image;
fn resize(image: &Image) -> std::io::Result<()> {
    unimplemented!()
}
fn example(image: Image, plan: &str) {
    BLOCK!();
}
// ---
use tracewell::SpanKind;
fn example(mut headers: std::collections::HashMap<String, String>) {
    BLOCK!();
}
// ---
use tracewell::SpanKind;
fn example(headers: http::HeaderMap) {
    BLOCK!();
}
