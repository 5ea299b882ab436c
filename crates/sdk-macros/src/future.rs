//! Functions that are not `async` and return a future.

use crate::arguments::is;
use proc_macro::{Delimiter, TokenStream, TokenTree};

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Value,
    /// `impl Future`
    Future,
    /// `Pin<Box<dyn Future>>`, `BoxFuture`, `LocalBoxFuture`
    PinnedBox,
    /// `Box<dyn Future>`
    Box,
}

impl Returns {
    /// By its type as it is written: the macro cannot know what other names stand for.
    pub(crate) fn of(output: &[TokenTree]) -> Self {
        let begins_with_impl = output.first().is_some_and(|token| is_word(token, "impl"));
        if begins_with_impl {
            return if has_bound(&output[1..], "Future") { Self::Future } else { Self::Value };
        }
        let path = output.iter().take_while(|token| !is(token, '<'));
        let Some(TokenTree::Ident(last)) = path.filter(|token| matches!(token, TokenTree::Ident(_))).last() else {
            return Self::Value;
        };
        let is_future = output.iter().any(|token| is_word(token, "dyn")) && has_any_bound(output, "Future");
        match last.to_string().as_str() {
            "BoxFuture" | "LocalBoxFuture" => Self::PinnedBox,
            "Pin" if is_future && output.iter().any(|token| is_word(token, "Box")) => Self::PinnedBox,
            "Box" if is_future && boxes_it(output) => Self::Box,
            _ => Self::Value,
        }
    }
}

pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

/// Whether it is `...Box<dyn ...`, and not `Box<Something<dyn ...>>`.
fn boxes_it(output: &[TokenTree]) -> bool {
    let at = output.iter().position(|token| is_word(token, "dyn"));
    at.is_some_and(|at| at >= 2 && is(&output[at - 1], '<') && is_word(&output[at - 2], "Box"))
        && output.iter().position(|token| is(token, '<')) == at.map(|at| at - 1)
}

/// Whether one of the bounds, outside of angle brackets, is this trait.
fn has_bound(bounds: &[TokenTree], name: &str) -> bool {
    let mut depth = 0_i32;
    bounds.iter().enumerate().any(|(at, token)| {
        if is(token, '<') {
            depth += 1;
        } else if is(token, '>') && !(at > 0 && is(&bounds[at - 1], '-')) {
            depth -= 1;
        }
        depth == 0 && is_word(token, name)
    })
}

/// Whether the `dyn` has the trait among its bounds.
fn has_any_bound(output: &[TokenTree], name: &str) -> bool {
    let after = output.iter().position(|token| is_word(token, "dyn")).map_or(output.len(), |at| at + 1);
    has_bound(&output[after..], name)
}

/// A body that ends with `async` block, in a box or not.
pub(crate) struct AsyncTail {
    /// What comes before the block in the box's parentheses, or before the block.
    pub(crate) before: Vec<TokenTree>,
    /// `Box::pin` and the like, when the block is in its parentheses.
    pub(crate) call: Vec<TokenTree>,
    /// `move`, or nothing.
    pub(crate) capture: Vec<TokenTree>,
    pub(crate) block: TokenStream,
}

impl AsyncTail {
    pub(crate) fn of(body: &TokenStream) -> Option<Self> {
        Self::at_the_end(body).filter(|tail| !tail.before.iter().any(may_return))
    }

    fn at_the_end(body: &TokenStream) -> Option<Self> {
        let mut before: Vec<TokenTree> = body.clone().into_iter().collect();
        if let Some(TokenTree::Group(arguments)) = before.last()
            && arguments.delimiter() == Delimiter::Parenthesis
        {
            let inside: Vec<TokenTree> = arguments.stream().into_iter().collect();
            let (capture, block) = whole_async_block(&inside)?;
            before.pop();
            let from = before.iter().rposition(|token| !is(token, ':') && !matches!(token, TokenTree::Ident(_)));
            let call = before.split_off(from.map_or(0, |at| at + 1));
            // `return Box::pin(..)` is as well the end.
            let is_return = |token: &TokenTree| is_word(token, "return");
            let is_box = call.iter().any(|token| is_word(token, "Box")) && is_word(call.last()?, "pin")
                || is_word(call.last()?, "new");
            return (is_box && !call.iter().any(is_return)).then_some(Self { before, call, capture, block });
        }
        // `... async { }` or `... async move { }` at the end.
        let at = before.iter().rposition(|token| is_word(token, "async"))?;
        let (capture, block) = whole_async_block(&before[at..])?;
        let begins_an_expression = at == 0
            || is(&before[at - 1], ';')
            || matches!(&before[at - 1], TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        before.truncate(at);
        begins_an_expression.then_some(Self { before, call: Vec::new(), capture, block })
    }
}

/// Whether the function may return another future before.
fn may_return(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().any(|token| may_return(&token)),
        token => is_word(token, "return") || is(token, '?'),
    }
}

/// Tokens that are an `async` block and nothing else (a comma may follow).
fn whole_async_block(tokens: &[TokenTree]) -> Option<(Vec<TokenTree>, TokenStream)> {
    let tokens = match tokens {
        [all @ .., comma] if is(comma, ',') => all,
        all => all,
    };
    let (capture, block) = match tokens {
        [first, block] if is_word(first, "async") => (Vec::new(), block),
        [first, capture, block] if is_word(first, "async") && is_word(capture, "move") => {
            (vec![capture.clone()], block)
        }
        _ => return None,
    };
    match block {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some((capture, group.stream())),
        _ => None,
    }
}

/// The type with `_` instead of each `impl Trait`, as closures and variables may have it.
pub(crate) fn without_impl(output: &TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = output.clone().into_iter().collect();
    let mut out: Vec<TokenTree> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            token if is_word(token, "impl") => {
                let mut depth = 0_i32;
                at += 1;
                while at < tokens.len() {
                    let token = &tokens[at];
                    let is_arrow = is(token, '>') && is(&tokens[at - 1], '-');
                    if depth == 0 && (is(token, ',') || (is(token, '>') && !is_arrow)) {
                        break;
                    }
                    depth += i32::from(is(token, '<')) - i32::from(is(token, '>') && !is_arrow);
                    at += 1;
                }
                out.extend(crate::source("_"));
            }
            TokenTree::Group(group) => {
                let inside = without_impl(&group.stream());
                out.push(proc_macro::Group::new(group.delimiter(), inside).into());
                at += 1;
            }
            token => {
                out.push(token.clone());
                at += 1;
            }
        }
    }
    out.into_iter().collect()
}
