//! What has to be known of a function.

use crate::Problem;
use crate::arguments::is;
use crate::future::{Returns, is_word};
use proc_macro::{Delimiter, Ident, Span, TokenStream, TokenTree};

pub(crate) struct Function {
    /// All before the body.
    pub(crate) head: TokenStream,
    pub(crate) name: Ident,
    pub(crate) is_async: bool,
    /// The type after `->`; empty when there is none.
    pub(crate) output: TokenStream,
    pub(crate) body: TokenStream,
}

impl Function {
    /// What it returns, unless a span cannot cover that.
    pub(crate) fn returns(&self) -> Result<Returns, Problem> {
        let output: Vec<TokenTree> = self.output.clone().into_iter().collect();
        if !self.is_async && is_stream(&output) {
            let text = "#[traced] would end the span before the first item of the stream: write `stream.in_span(tracewell::span(\"name\").start())` with `use tracewell::StreamExt as _;` instead";
            return Err(Problem::new(text, output[0].span()));
        }
        Ok(Returns::of(&output))
    }

    pub(crate) fn parse(item: TokenStream) -> Result<Self, Problem> {
        let mut head: Vec<TokenTree> = item.into_iter().collect();
        let wrong = |text: &str| Problem::new(text, Span::call_site());
        let body = match head.pop() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group.stream(),
            _ => return Err(wrong("#[traced] is for functions with a body")),
        };
        let at = head.iter().position(|token| is_word(token, "fn"));
        let (Some(at), Some(TokenTree::Ident(name))) = (at, at.and_then(|at| head.get(at + 1))) else {
            return Err(wrong("#[traced] is for functions"));
        };
        if head[..at].iter().any(|token| is_word(token, "const")) {
            return Err(Problem::new("a const fn cannot be traced", head[0].span()));
        }
        Ok(Self {
            name: name.clone(),
            is_async: head[..at].iter().any(|token| is_word(token, "async")),
            output: output(&head[at..]),
            head: head.into_iter().collect(),
            body,
        })
    }
}

/// Whether the type, as it is written, is a stream's.
fn is_stream(output: &[TokenTree]) -> bool {
    let begins = |words: &[&str]| output.first().is_some_and(|token| words.iter().any(|word| is_word(token, word)));
    let has = |word: &str| output.iter().any(|token| is_word(token, word));
    let end = output.iter().position(|token| is(token, '<')).unwrap_or(output.len());
    let last = output[..end].iter().rev().find(|token| matches!(token, TokenTree::Ident(_)));
    let is_alias = last.is_some_and(|token| is_word(token, "BoxStream") || is_word(token, "LocalBoxStream"));
    is_alias
        || (begins(&["impl"]) && output[..end].iter().any(|token| is_word(token, "Stream")))
        || (last.is_some_and(|token| is_word(token, "Pin")) && has("dyn") && has("Stream") && !has("Future"))
}

/// From the `->` after the arguments to `where` or the end. Arrows of function pointers and closures stand inside the
/// arguments or between angle brackets, and so before the last group of parentheses at the top, or deeper.
fn output(head: &[TokenTree]) -> TokenStream {
    let mut depth = 0_i32;
    let mut arguments = None;
    for (at, token) in head.iter().enumerate() {
        let is_arrow_head = at > 0 && is(token, '>') && is(&head[at - 1], '-');
        match token {
            token if is(token, '<') => depth += 1,
            token if is(token, '>') && !is_arrow_head => depth -= 1,
            TokenTree::Group(group) if depth == 0 && group.delimiter() == Delimiter::Parenthesis => {
                arguments = Some(at);
                break;
            }
            _ => {}
        }
    }
    let Some([dash, arrow, rest @ ..]) = arguments.map(|at| &head[at + 1..]) else { return TokenStream::new() };
    if !is(dash, '-') || !is(arrow, '>') {
        return TokenStream::new();
    }
    let end = rest.iter().position(|token| matches!(token, TokenTree::Ident(ident) if ident.to_string() == "where"));
    rest[..end.unwrap_or(rest.len())].iter().cloned().collect()
}
