//! SQL, read only as far as needed to tell what a query is about without telling anybody's data.

use std::iter::Peekable;
use std::str::CharIndices;

/// A query's text is cut there; generated ones can be megabytes.
const MOST_TEXT_BYTES: usize = 4 << 10;
/// The semantic conventions' limit.
const MOST_SUMMARY_BYTES: usize = 255;

/// What may be told of a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sql {
    /// The operations and what they work on, such as `SELECT images tags`: few distinct ones, so that it is a name.
    pub(super) summary: String,
    /// The query without comments, with `?` instead of each literal; placeholders stay.
    pub(super) text: String,
}

/// Reads a query. Where dialects differ in where a literal ends, the system's own rules count; where that is not certain,
/// more is left out rather than less.
pub(super) fn read(system: &str, sql: &str) -> Sql {
    let mut text = Text::default();
    let mut summary = Summary::default();
    let mut tokens = Tokens { system, sql, chars: sql.char_indices().peekable(), previous: Token::Symbol(';') };
    while let Some((token, spaced)) = tokens.next() {
        text.push(token, spaced);
        summary.push(token);
    }
    Sql { summary: summary.done(), text: text.out }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// With its quotes.
    Quoted(&'a str),
    /// `?`, `$1`, `:name`, `@name`.
    Placeholder(&'a str),
    Literal,
    Symbol(char),
}

struct Tokens<'a> {
    system: &'a str,
    sql: &'a str,
    chars: Peekable<CharIndices<'a>>,
    previous: Token<'a>,
}

impl<'a> Tokens<'a> {
    /// The next token, and whether there was a space before it.
    fn next(&mut self) -> Option<(Token<'a>, bool)> {
        let mut spaced = false;
        while self.skip_space() {
            spaced = true;
        }
        let (begin, first) = self.chars.next()?;
        let token = match first {
            '\'' => self.literal('\'', self.backslash_escapes()),
            '"' | '`' => self.quoted(begin, first),
            '0'..='9' => self.number(),
            '.' if matches!(self.peek(), Some('0'..='9')) && !self.is_after_name() => self.number(),
            '$' => self.dollar(begin),
            '?' => {
                self.skip_word();
                Token::Placeholder(self.since(begin))
            }
            // `::type` is a cast.
            ':' if self.peek() == Some(':') => {
                self.chars.next();
                Token::Word("::")
            }
            ':' | '@' if self.peek().is_some_and(is_word) => {
                self.skip_word();
                Token::Placeholder(self.since(begin))
            }
            _ if is_word(first) => self.word(begin),
            _ => Token::Symbol(first),
        };
        self.previous = token;
        Some((token, spaced))
    }

    fn backslash_escapes(&self) -> bool {
        matches!(self.system, "mysql" | "mariadb" | "clickhouse")
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.sql.len(), |(at, _)| *at)
    }

    fn since(&mut self, begin: usize) -> &'a str {
        let end = self.at();
        &self.sql[begin..end]
    }

    fn rest(&mut self) -> &'a str {
        let at = self.at();
        &self.sql[at..]
    }

    fn skip_word(&mut self) {
        while self.peek().is_some_and(is_word) {
            self.chars.next();
        }
    }

    fn skip_bytes(&mut self, bytes: usize) {
        let end = self.at() + bytes;
        while self.at() < end && self.chars.next().is_some() {}
    }

    fn is_after_name(&self) -> bool {
        matches!(self.previous, Token::Word(_) | Token::Quoted(_))
    }

    /// Skips one space or comment. Comments nest, as in PostgreSQL: where they do not, too much is skipped.
    fn skip_space(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("--") || (rest.starts_with('#') && self.backslash_escapes()) {
            self.skip_bytes(rest.find('\n').unwrap_or(rest.len()));
            return true;
        }
        if rest.starts_with("/*") {
            let (mut depth, mut at) = (0_usize, 0);
            while let Some(found) = rest[at..].find(['/', '*']) {
                at += found;
                if rest[at..].starts_with("/*") {
                    depth += 1;
                    at += 2;
                } else if rest[at..].starts_with("*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        self.skip_bytes(at);
                        return true;
                    }
                } else {
                    at += 1;
                }
            }
            self.skip_bytes(rest.len());
            return true;
        }
        self.chars.next_if(|(_, c)| c.is_whitespace()).is_some()
    }

    /// To the closing quote; a doubled quote is part of the literal. One that is not closed goes on to the end.
    fn literal(&mut self, quote: char, backslash_escapes: bool) -> Token<'a> {
        while let Some((_, c)) = self.chars.next() {
            if c == '\\' && backslash_escapes {
                self.chars.next();
            } else if c == quote && self.chars.next_if(|(_, next)| *next == quote).is_none() {
                break;
            }
        }
        Token::Literal
    }

    /// A name in quotes. MySQL takes double quotes for literals, and so does SQLite when there is no such name: there
    /// they are names only where nothing else can stand.
    fn quoted(&mut self, begin: usize, quote: char) -> Token<'a> {
        self.literal(quote, quote == '"' && self.backslash_escapes());
        let names = ["FROM", "INTO", "JOIN", "UPDATE", "TABLE", "INDEX", "EXISTS", "ON", "VIEW"];
        let is_name = quote == '`'
            || !(self.backslash_escapes() || self.system == "sqlite")
            || self.peek() == Some('.')
            || match self.previous {
                Token::Symbol('.') => true,
                Token::Word(word) => names.iter().any(|name| name.eq_ignore_ascii_case(word)),
                _ => false,
            };
        if is_name { Token::Quoted(self.since(begin)) } else { Token::Literal }
    }

    /// Digits with all that may follow them: `1.5e-3`, `0xff`, `1_000`.
    fn number(&mut self) -> Token<'a> {
        let mut last = '0';
        while let Some((_, c)) = self
            .chars
            .next_if(|(_, c)| is_word(*c) || *c == '.' || (matches!(c, '+' | '-') && matches!(last, 'e' | 'E')))
        {
            last = c;
        }
        Token::Literal
    }

    /// `$1` and `$name` are placeholders; `$$text$$` and `$tag$text$tag$` are literals of PostgreSQL.
    fn dollar(&mut self, begin: usize) -> Token<'a> {
        self.skip_plain_word();
        if self.peek() == Some('$') {
            self.chars.next();
            let tag = self.since(begin);
            let rest = self.rest();
            self.skip_bytes(rest.find(tag).map_or(rest.len(), |at| at + tag.len()));
            return Token::Literal;
        }
        Token::Placeholder(self.since(begin))
    }

    fn skip_plain_word(&mut self) {
        while self.peek().is_some_and(|c| is_word(c) && c != '$') {
            self.chars.next();
        }
    }

    fn word(&mut self, begin: usize) -> Token<'a> {
        self.skip_word();
        let word = self.since(begin);
        // `E'..'`, `N'..'`, `X'..'`, `_utf8'..'`, `U&'..'`: the prefix is part of the literal.
        let rest = self.rest();
        if rest.starts_with('\'') || (rest.starts_with("&'") && word.eq_ignore_ascii_case("u")) {
            self.skip_bytes(rest.find('\'').unwrap_or(0) + 1);
            let escapes = self.backslash_escapes() || word.eq_ignore_ascii_case("e");
            return self.literal('\'', escapes);
        }
        Token::Word(word)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The text as it is built.
#[derive(Default)]
struct Text {
    out: String,
    is_full: bool,
    /// A literal was written last, or a literal and a comma.
    after: After,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum After {
    #[default]
    Other,
    Literal,
    LiteralAndComma,
}

impl Text {
    fn push(&mut self, token: Token<'_>, spaced: bool) {
        if self.is_full {
            return;
        }
        // Lists of literals of any length are one: `IN (1, 2, 3)` is `IN (?)`.
        self.after = match (token, self.after) {
            (Token::Literal, After::LiteralAndComma) => {
                self.out.truncate(self.out.trim_end().len() - 1);
                self.after = After::Literal;
                return;
            }
            (Token::Literal, _) => After::Literal,
            (Token::Symbol(','), After::Literal) => After::LiteralAndComma,
            _ => After::Other,
        };
        if spaced && !self.out.is_empty() {
            self.out.push(' ');
        }
        let mut buffer = [0; 4];
        let text = match token {
            Token::Word(text) | Token::Quoted(text) | Token::Placeholder(text) => text,
            Token::Literal => "?",
            Token::Symbol(symbol) => symbol.encode_utf8(&mut buffer),
        };
        if self.out.len() + text.len() > MOST_TEXT_BYTES {
            self.out.push('…');
            self.is_full = true;
            return;
        }
        self.out.push_str(text);
    }
}

/// The summary as it is built.
#[derive(Default)]
struct Summary {
    parts: Vec<String>,
    bytes: usize,
    /// Whether an operation was met, for each parenthesis that is open and outside of them all: `FROM` in one without is
    /// part of a call such as `extract(year FROM day)`.
    has_operation: Vec<bool>,
    expects: Expects,
    /// The name that was met last may be that of a function, such as in `FROM generate_series(1, 3)`.
    may_be_call: bool,
    previous: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expects {
    #[default]
    Nothing,
    /// The name of a table comes.
    Target,
    /// A name has come, and goes on after a dot.
    Rest,
    RestAfterDot,
    /// In a list of tables, after one of them: a comma brings the next.
    List,
}

impl Summary {
    fn push(&mut self, token: Token<'_>) {
        match token {
            Token::Symbol('.') if self.expects == Expects::Rest => self.expects = Expects::RestAfterDot,
            Token::Symbol(',') if matches!(self.expects, Expects::Rest | Expects::List) => {
                self.expects = Expects::Target
            }
            Token::Symbol('(') => {
                if self.may_be_call && self.expects == Expects::Rest {
                    self.parts.pop();
                }
                self.has_operation.push(false);
                self.expects = Expects::Nothing;
            }
            Token::Symbol(')') => {
                self.has_operation.pop();
                self.expects = Expects::Nothing;
            }
            Token::Word(word) => return self.word(word),
            Token::Quoted(quoted) => self.name(quoted.trim_matches(['"', '`'])),
            _ => self.expects = Expects::Nothing,
        }
        self.previous.clear();
    }

    fn word(&mut self, word: &str) {
        let upper = word.to_ascii_uppercase();
        let previous = std::mem::replace(&mut self.previous, upper.clone());
        if self.expects == Expects::Nothing {
            self.may_be_call = matches!(upper.as_str(), "FROM" | "JOIN");
        }
        let is_first = self.parts.is_empty();
        match upper.as_str() {
            "SELECT" | "INSERT" | "DELETE" | "MERGE" | "REPLACE" | "UPDATE"
                if !matches!(previous.as_str(), "FOR" | "KEY" | "ON" | "DO" | "OR" | "THEN") || is_first =>
            {
                if upper == "REPLACE" && !is_first {
                    // The function.
                    return self.expects = Expects::Nothing;
                }
                self.operation(upper.clone());
                if upper == "UPDATE" {
                    self.expects = Expects::Target;
                }
            }
            "CREATE" | "DROP" | "ALTER" | "TRUNCATE" if is_first => self.operation(upper),
            "TABLE" | "VIEW" | "INDEX" | "SCHEMA" | "DATABASE"
                if matches!(self.parts.first().map(String::as_str), Some("CREATE" | "DROP" | "ALTER" | "TRUNCATE"))
                    && self.parts.len() == 1 =>
            {
                self.parts[0].push(' ');
                self.parts[0].push_str(&upper);
                self.expects = Expects::Target;
            }
            "IF" | "NOT" | "EXISTS" | "ONLY" | "LATERAL" | "IGNORE" if self.expects == Expects::Target => {}
            "FROM" if self.has_operation.last().copied().unwrap_or(!is_first) => self.expects = Expects::Target,
            "INTO" | "JOIN" | "USING" if !is_first && (upper != "USING" || previous_is_merge(&self.parts)) => {
                self.expects = Expects::Target;
            }
            "WHERE" | "SET" | "VALUES" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" | "UNION" | "ON" | "RETURNING"
            | "WINDOW" => {
                self.expects = Expects::Nothing;
            }
            // Before the first operation: the names of common tables, of which the query tells nothing yet.
            "WITH" | "RECURSIVE" | "AS" | "EXPLAIN" if is_first => {}
            "ANALYZE" if is_first && previous == "EXPLAIN" => {}
            _ if is_first && previous != "WITH" && previous != "RECURSIVE" && self.has_operation.is_empty() => {
                self.operation(upper);
            }
            _ => self.name(word),
        }
    }

    fn operation(&mut self, operation: String) {
        if let Some(met) = self.has_operation.last_mut() {
            *met = true;
        }
        self.part(operation);
        self.expects = Expects::Nothing;
    }

    fn name(&mut self, name: &str) {
        self.expects = match self.expects {
            Expects::Target => {
                self.part(name.to_owned());
                Expects::Rest
            }
            Expects::RestAfterDot => {
                if let Some(last) = self.parts.last_mut() {
                    last.push('.');
                    last.push_str(name);
                    self.bytes += 1 + name.len();
                }
                Expects::Rest
            }
            // An alias.
            Expects::Rest | Expects::List => Expects::List,
            Expects::Nothing => Expects::Nothing,
        };
    }

    fn part(&mut self, part: String) {
        self.bytes += part.len() + 1;
        if self.bytes <= MOST_SUMMARY_BYTES {
            self.parts.push(part);
        }
    }

    fn done(self) -> String {
        let summary = self.parts.join(" ");
        crate::value::truncated(&summary, MOST_SUMMARY_BYTES).to_owned()
    }
}

fn previous_is_merge(parts: &[String]) -> bool {
    parts.first().is_some_and(|first| first == "MERGE" || first == "DELETE")
}

#[cfg(test)]
mod tests;
