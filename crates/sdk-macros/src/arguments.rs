//! What stands in the attribute: `name = "...", kind = Server, err, tags(id, "user.id" = user.id(), ?filter, %url)`.

use crate::{Problem, source};
use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

#[derive(Default)]
pub(crate) struct Arguments {
    /// As source: a literal.
    pub(crate) name: Option<String>,
    /// A variant of `SpanKind`.
    pub(crate) kind: Option<String>,
    pub(crate) err: bool,
    pub(crate) tags: Vec<Tag>,
}

pub(crate) struct Tag {
    pub(crate) key: String,
    /// An expression.
    pub(crate) value: TokenStream,
}

const KINDS: [&str; 5] = ["Internal", "Server", "Client", "Producer", "Consumer"];

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for part in split(tokens) {
            let at = part[0].span();
            match (part[0].to_string().as_str(), &part[1..]) {
                ("name", [equals, literal @ TokenTree::Literal(_)]) if is(equals, '=') => {
                    parsed.name = Some(literal.to_string());
                }
                ("kind", [equals, TokenTree::Ident(kind)]) if is(equals, '=') => {
                    let kind = kind.to_string();
                    if !KINDS.contains(&kind.as_str()) {
                        return Err(Problem::new(format!("kind is one of {}", KINDS.join(", ")), at));
                    }
                    parsed.kind = Some(kind);
                }
                ("err", []) => parsed.err = true,
                ("tags", [TokenTree::Group(group)]) if group.delimiter() == Delimiter::Parenthesis => {
                    for tag in split(group.stream()) {
                        parsed.tags.push(Tag::parse(&tag)?);
                    }
                }
                _ => {
                    let known =
                        "#[traced] takes name = \"...\", kind = Client, err and tags(argument, \"key\" = value)";
                    return Err(Problem::new(known, at));
                }
            }
        }
        Ok(parsed)
    }
}

impl Tag {
    /// `argument`, `?argument` by its `Debug`, `%argument` by its `Display`, or `key = expression` with a key that is a
    /// literal or a path such as `user.id`.
    fn parse(tokens: &[TokenTree]) -> Result<Self, Problem> {
        let at = tokens[0].span();
        let wrong = || Problem::new("a tag is `argument`, `?argument`, `%argument` or `\"key\" = expression`", at);
        let equals = tokens.iter().position(|token| is(token, '='));
        let is_argument = equals.is_none();
        let (key, value) = match equals {
            Some(equals) => (&tokens[..equals], &tokens[equals + 1..]),
            None => (tokens, tokens),
        };
        let (value_at, wrapper) = match value.first().ok_or_else(wrong)? {
            token if is(token, '?') => (1, Some("::tracewell::debug")),
            token if is(token, '%') => (1, Some("::tracewell::display")),
            _ => (0, None),
        };
        let key: String = match key {
            [TokenTree::Literal(literal)] => literal.to_string().trim_matches('"').to_owned(),
            // The argument itself.
            _ if is_argument => match &key[value_at..] {
                [TokenTree::Ident(name)] => name.to_string().trim_start_matches("r#").to_owned(),
                _ => return Err(wrong()),
            },
            path => path.iter().map(ToString::to_string).collect(),
        };
        let expression: TokenStream = value[value_at..].iter().cloned().collect();
        if key.is_empty() || expression.is_empty() {
            return Err(wrong());
        }
        // An argument and its fields stay where they are; what an expression gives is taken as it is.
        let is_place = wrapper.is_some() || is_argument || is_place(&value[value_at..]);
        let mut inside = if is_place { source("&") } else { TokenStream::new() };
        inside.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, expression))]);
        let value = match wrapper {
            Some(wrapper) => {
                let mut call = source(wrapper);
                call.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, inside))]);
                call
            }
            None => inside,
        };
        Ok(Self { key, value })
    }
}

/// Whether it is an argument or a field of one: `id`, `self.id`, `pair.0.name`.
fn is_place(tokens: &[TokenTree]) -> bool {
    tokens.iter().enumerate().all(|(at, token)| match token {
        TokenTree::Ident(_) => at % 2 == 0,
        // `pair.0.name` has one token for `0`, `pair.0.1` one for `0.1`.
        TokenTree::Literal(_) => at % 2 == 0 && at > 0,
        token => at % 2 == 1 && is(token, '.'),
    }) && tokens.len() % 2 == 1
        && !matches!(tokens, [TokenTree::Ident(word)] if ["true", "false"].contains(&word.to_string().as_str()))
}

/// The non-empty parts between commas.
fn split(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        match is(&token, ',') {
            true => parts.push(Vec::new()),
            false => parts.last_mut().into_iter().for_each(|part| part.push(token.clone())),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

pub(crate) fn is(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
