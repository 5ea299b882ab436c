//! The attribute `#[traced]`, documented where it is used: `tracewell::traced`.
//!
//! Of a function only its head is read, up to the block that ends it: what is before `fn`, the name, and the names of
//! the arguments. So it needs no parser of the whole language, and no dependency.

mod arguments;
mod function;

use arguments::{Arguments, Tag};
use function::Function;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Makes a span of each call of a function. See `tracewell::traced`.
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

    let error = source("if let ::core::result::Result::Err(error) = &result { ::tracewell::error(error); } result");
    let body = function.body.clone();
    let traced = match (function.is_async, arguments.err) {
        (true, false) => {
            let mut out = async_block(body);
            out = call("::tracewell::FutureExt::in_span", out, start);
            out.extend(source(".await"));
            out
        }
        (true, true) => {
            let mut inner = source("let result =");
            inner.extend(async_block(body));
            inner.extend(source(".await;"));
            inner.extend(error);
            let mut out = call("::tracewell::FutureExt::in_span", async_block(inner), start);
            out.extend(source(".await"));
            out
        }
        (false, false) => {
            let mut out = entered(start);
            out.extend(body);
            out
        }
        (false, true) => {
            // A closure, so that `return` and `?` of the body end there.
            let mut out = entered(start);
            let mut closure = source("move ||");
            if !function.output.is_empty() {
                closure.extend(source("->"));
                closure.extend(function.output.clone());
            }
            closure.extend([TokenTree::from(Group::new(Delimiter::Brace, body))]);
            out.extend(source("#[allow(clippy::redundant_closure_call)] let result ="));
            out.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, closure))]);
            out.extend(source("();"));
            out.extend(error);
            out
        }
    };
    let block = TokenTree::from(Group::new(Delimiter::Brace, traced));
    Ok(function.head.into_iter().chain([block]).collect())
}

/// `let span = START; let _entered = span.enter();`, under names that the body cannot see.
fn entered(start: TokenStream) -> TokenStream {
    let hidden = |name: &str| TokenTree::from(Ident::new(name, Span::mixed_site()));
    let mut out = source("let");
    out.extend([hidden("__span")]);
    out.extend(source("="));
    out.extend(start);
    out.extend(source("; let"));
    out.extend([hidden("__entered")]);
    out.extend(source("="));
    out.extend([hidden("__span")]);
    out.extend(source(".enter();"));
    out
}

fn async_block(body: TokenStream) -> TokenStream {
    let mut out = source("async move");
    out.extend([TokenTree::from(Group::new(Delimiter::Brace, body))]);
    out
}

fn call(path: &str, first: TokenStream, second: TokenStream) -> TokenStream {
    let mut inside = first;
    inside.extend(source(","));
    inside.extend(second);
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
