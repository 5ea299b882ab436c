//! The attribute `#[traced]` of the crate `tracewell`.
//!
//! Of a function only its head is read, up to the block that ends it: what is before `fn`, the name, and the names of
//! the arguments. So it needs no parser of the whole language, and no dependency.

mod arguments;
mod function;
mod future;

use arguments::{Arguments, Tag};
use function::Function;
use future::{AsyncTail, Returns, without_impl};
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Makes a span of each call of a function: from the call, or of an `async` function from its first poll, to its end, in
/// whatever way that comes. The span is current inside, so that what is called there is recorded below it. Nothing of the
/// arguments is recorded that is not named.
///
/// ```
/// use tracewell::traced;
///
/// # struct Image;
/// # async fn load(_: u64) -> std::io::Result<Image> { Ok(Image) }
/// #[traced(tags(id), err)]
/// async fn thumbnail(id: u64) -> std::io::Result<Image> {
///     load(id).await
/// }
/// # let _ = thumbnail(7);
/// ```
///
/// # Arguments
///
/// | | |
/// |---|---|
/// | `name = "resize image"` | the span's name; the function's unless told |
/// | `kind = Client` | a variant of `SpanKind`; `Internal` unless told |
/// | `err` | a `Result` that is an `Err` marks the span as failed: an error with its causes, else its `Display` |
/// | `tags(id)` | the argument `id`, by reference; its type is a `TagValue` |
/// | `tags(?mode, %url)` | by `Debug`, by `Display` |
/// | `tags(user.id = user.id, "image.area" = width * height)` | a key (with dots or in quotes) and an expression |
///
/// Tags are evaluated before the body, and only when the span is recorded.
///
/// ```
/// # use tracewell::traced;
/// #[traced(name = "resize image", err, tags(%name, ?mode, "image.area" = width * 2))]
/// fn resize(name: String, width: u32, mode: Option<u8>) -> Result<String, std::num::ParseIntError> {
///     let scale: u32 = name.parse()?;
///     Ok((scale * width).to_string())
/// }
/// # resize("7".to_owned(), 2, None).unwrap();
/// ```
///
/// # What it makes
///
/// ```
/// # async fn load(_: u64) {}
/// // #[traced(tags(id))]
/// // async fn thumbnail(id: u64) { load(id).await }
/// async fn thumbnail(id: u64) {
///     let span = tracewell::span("thumbnail").tag_with("id", || &id).start();
///     tracewell::FutureExt::in_span(async move { load(id).await }, span).await
/// }
/// # let _ = thumbnail(7);
/// ```
///
/// A function that is not `async` enters the span at its beginning and leaves it at its end. With `err` the body is in a
/// closure, where `return` and `?` end.
///
/// # Functions that return futures
///
/// The span covers the whole future of `async fn`, also under `#[async_trait]`, and of functions that return
/// `impl Future`, `Pin<Box<dyn Future>>`, `Box<dyn Future>`, `BoxFuture` or `LocalBoxFuture`. Where such a function ends with
/// an `async` block or `Box::pin(async { .. })`, the span begins with the first poll, else with the call. A future that is
/// dropped before its end says `cancelled`. A type alias of another name is not seen through: there write
/// `future.in_span(tracewell::span("name").start())` with `tracewell::FutureExt`.
///
/// # What it refuses
///
/// `const fn`, functions without a body, and functions that return a stream, whose span would end before the first item:
/// there write `stream.in_span(..)` with `tracewell::StreamExt`.
#[proc_macro_attribute]
pub fn traced(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match expand(arguments, item.clone()) {
        Ok(expanded) => expanded,
        Err(problem) => {
            // The function stays as it is, so that this is the only error.
            let error = format!("::core::compile_error!({:?});", problem.text);
            let error: TokenStream = error.parse().unwrap_or_default();
            error.into_iter().map(|token| spanned(token, problem.at)).chain(item).collect()
        }
    }
}

/// What is wrong, and where.
struct Problem {
    text: String,
    at: Span,
}

impl Problem {
    fn new(text: impl Into<String>, at: Span) -> Self {
        Self { text: text.into(), at }
    }
}

fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Problem> {
    let arguments = Arguments::parse(arguments)?;
    let function = Function::parse(item)?;
    let name =
        arguments.name.clone().unwrap_or_else(|| format!("{:?}", function.name.to_string().trim_start_matches("r#")));

    let mut start = source(&format!("::tracewell::span({name})"));
    if let Some(kind) = &arguments.kind {
        start.extend(source(&format!(".kind(::tracewell::SpanKind::{kind})")));
    }
    for tag in &arguments.tags {
        start.extend(tag_call(tag));
    }
    start.extend(source(".start()"));

    let traced = match (function.is_async, function.returns()?) {
        (true, _) => {
            let body = with_type(function.body.clone(), &function.output);
            let mut out = let_span(start);
            out.extend(in_span(async_block(source("move"), body), arguments.err, &source("move")));
            out.extend(source(".await"));
            out
        }
        (false, Returns::Value) if !arguments.err => {
            let mut out = entered(start);
            out.extend(function.body.clone());
            out
        }
        (false, Returns::Value) => {
            let mut out = entered(start);
            out.extend(source("let result ="));
            out.extend(closure(&function));
            out.extend(source(";"));
            out.extend(caught());
            out
        }
        (false, returns) => match AsyncTail::of(&function.body) {
            Some(tail) => async_tail(tail, start, arguments.err),
            None => future(&function, returns, start, arguments.err),
        },
    };
    let block = TokenTree::from(Group::new(Delimiter::Brace, traced));
    Ok(function.head.into_iter().chain([block]).collect())
}

/// The `async` block at the end of a body, with a span from its first poll to its end.
fn async_tail(tail: AsyncTail, start: TokenStream, err: bool) -> TokenStream {
    let AsyncTail { before, call, capture, block } = tail;
    let capture: TokenStream = capture.into_iter().collect();
    let mut inside = let_span(start);
    inside.extend(in_span(async_block(capture.clone(), block), err, &capture));
    inside.extend(source(".await"));
    let block = async_block(capture, inside);
    let mut out: TokenStream = before.into_iter().collect();
    match call.is_empty() {
        true => out.extend(block),
        false => {
            out.extend(call);
            out.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, block))]);
        }
    }
    out
}

/// A body that makes a future in some way, with a span from the call to the future's end.
fn future(function: &Function, returns: Returns, start: TokenStream, err: bool) -> TokenStream {
    let made = TokenTree::from(Ident::new("__future", Span::mixed_site()));
    let mut make = source("let __entered =");
    make.extend([hidden("__span")]);
    make.extend(source(".enter();"));
    make.extend(closure(function));
    let mut out = let_span(start);
    out.extend(source("let"));
    out.extend([made.clone()]);
    out.extend(source("="));
    out.extend([TokenTree::from(Group::new(Delimiter::Brace, make))]);
    out.extend(source(";"));
    let work = if err {
        let mut inside: TokenStream = [made].into_iter().collect();
        inside.extend(source(".await"));
        async_block(source("move"), inside)
    } else {
        [made].into_iter().collect()
    };
    let wrapped = in_span(work, err, &source("move"));
    out.extend(match (returns, err) {
        (Returns::PinnedBox, _) => call("::std::boxed::Box::pin", wrapped),
        // What `err` makes is not `Unpin`.
        (Returns::Box, true) => call("::std::boxed::Box::new", call("::std::boxed::Box::pin", wrapped)),
        (Returns::Box, false) => call("::std::boxed::Box::new", wrapped),
        _ => wrapped,
    });
    out
}

/// `work`, a future, in the span; with `err` its result is looked at.
fn in_span(work: TokenStream, err: bool, capture: &TokenStream) -> TokenStream {
    let work = if err {
        let mut inside = source("let result =");
        inside.extend(work);
        inside.extend(source(".await;"));
        inside.extend(caught());
        async_block(capture.clone(), inside)
    } else {
        work
    };
    let mut inside = work;
    inside.extend(source(","));
    inside.extend([hidden("__span")]);
    call("::tracewell::FutureExt::in_span", inside)
}

/// Records the error of `result`, which it is at the end.
fn caught() -> TokenStream {
    source(
        "if let ::core::result::Result::Err(error) = &result {
            #[allow(unused_imports)]
            use ::tracewell::__caught::{AsContainer as _, AsDisplay as _, AsError as _};
            (&&&::tracewell::__caught::Caught(error)).record();
        }
        result",
    )
}

/// The body in a closure that is called, so that `return` and `?` of the body end there.
fn closure(function: &Function) -> TokenStream {
    let mut closure = source("move ||");
    let output = without_impl(&function.output);
    if !output.is_empty() {
        closure.extend(source("->"));
        closure.extend(output);
    }
    closure.extend([TokenTree::from(Group::new(Delimiter::Brace, function.body.clone()))]);
    call("::tracewell::__caught::call", closure)
}

/// The body of an `async` block whose type is known before its end, so that what it returns is coerced as a function's is.
fn with_type(body: TokenStream, output: &TokenStream) -> TokenStream {
    let output = without_impl(output);
    if output.is_empty() || ["_", "!"].contains(&output.to_string().as_str()) {
        return body;
    }
    let mut known = source("let returned:");
    known.extend(output);
    known.extend(source("= loop {}; return returned;"));
    let mut never = source("if false");
    never.extend([TokenTree::from(Group::new(Delimiter::Brace, known))]);
    let mut out = source("#[allow(unknown_lints, unreachable_code, unused, clippy::all)]");
    out.extend([TokenTree::from(Group::new(Delimiter::Brace, never))]);
    out.extend(body);
    out
}

/// A name that the body cannot see.
fn hidden(name: &str) -> TokenTree {
    TokenTree::from(Ident::new(name, Span::mixed_site()))
}

/// `let span = START;`
fn let_span(start: TokenStream) -> TokenStream {
    let mut out = source("let");
    out.extend([hidden("__span")]);
    out.extend(source("="));
    out.extend(start);
    out.extend(source(";"));
    out
}

/// `let span = START; let _entered = span.enter();`
fn entered(start: TokenStream) -> TokenStream {
    let mut out = let_span(start);
    out.extend(source("let"));
    out.extend([hidden("__entered")]);
    out.extend(source("="));
    out.extend([hidden("__span")]);
    out.extend(source(".enter();"));
    out
}

/// `async` or `async move` and the block.
fn async_block(capture: TokenStream, body: TokenStream) -> TokenStream {
    let mut out = source("async");
    out.extend(capture);
    out.extend([TokenTree::from(Group::new(Delimiter::Brace, body))]);
    out
}

fn call(path: &str, inside: TokenStream) -> TokenStream {
    let mut out = source(path);
    out.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, inside))]);
    out
}

/// `.tag_with("key", || value)`: the value is evaluated only when the span is sampled.
fn tag_call(tag: &Tag) -> TokenStream {
    let mut inside = source(&format!("{:?}, ||", tag.key));
    inside.extend([TokenTree::from(Group::new(Delimiter::Brace, tag.value.clone()))]);
    let mut out = source(".tag_with");
    out.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, inside))]);
    out
}

/// Code of this crate's own.
fn source(code: &str) -> TokenStream {
    code.parse().unwrap_or_else(|error| panic!("{code:?} is not Rust: {error}"))
}

fn spanned(mut token: TokenTree, at: Span) -> TokenTree {
    token.set_span(at);
    token
}
