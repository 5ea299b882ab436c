fn example() {
    BLOCK!();
}
// ---
fn example() {
    BLOCK!();
}
// ---
fn example(exporter: tracewell::InMemoryExporter) {
    BLOCK!();
}
