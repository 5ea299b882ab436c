//! What the compiler says to those who use the library wrongly tells them what to write.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

mod fixtures;

use fixtures::Library;

/// A program, and what its error says.
const WRONG: &[(&str, &[&str])] = &[
    ("#[tracewell::traced] const fn f() {} fn main() {}", &["a const fn cannot be traced"]),
    ("#[tracewell::traced] struct S; fn main() {}", &["#[traced] is for functions"]),
    ("trait T { #[tracewell::traced] fn f(&self); } fn main() {}", &["#[traced] is for functions with a body"]),
    (
        "trait Stream {} impl Stream for u8 {} #[tracewell::traced] fn f() -> impl Stream { 1_u8 } fn main() {}",
        &["end the span before the first item", "stream.in_span(", "StreamExt"],
    ),
    (
        "trait Stream {} impl Stream for u8 {} type BoxStream = Box<dyn Stream>;
         #[tracewell::traced] fn f() -> BoxStream { Box::new(1_u8) } fn main() {}",
        &["end the span before the first item"],
    ),
    ("#[tracewell::traced(skip(a))] fn f(a: u8) {} fn main() {}", &["#[traced] takes name = "]),
    ("#[tracewell::traced(kind = Sever)] fn f() {} fn main() {}", &["kind is one of Internal, Server"]),
    ("#[tracewell::traced(tags(a + 1))] fn f(a: u8) {} fn main() {}", &["a tag is `argument`"]),
    (
        "fn main() { tracewell::tag(\"took\", std::time::Duration::ZERO); }",
        &["`Duration` is not a value that a tag can have", "tracewell::display(", "tracewell::debug("],
    ),
    (
        "fn main() { tracewell::span(\"x\").tag(\"ip\", std::net::IpAddr::from([127, 0, 0, 1])).start().end(); }",
        &["is not a value that a tag can have", "tracewell::display("],
    ),
    (
        "#[derive(Debug)] enum Plan { Free } fn main() { tracewell::tag(\"plans\", vec![Plan::Free]); }",
        &["a list of `Plan` is not a value that a tag can have", "tracewell::debug(list)"],
    ),
    (
        "struct Failed; fn main() { tracewell::error(Failed); }",
        &["`Failed` is neither an error nor a text", "tracewell::display("],
    ),
];

#[test]
fn errors_say_what_to_write() {
    let library = Library::build("errors", "dev", "macros", &[]);
    for (program, expected) in WRONG {
        let said = library.refusal(program);
        for text in *expected {
            assert!(said.contains(text), "{program}\ndoes not say {text:?}, but:\n{said}");
        }
    }
}
