//! JSON documents out of a stream: one a line, one after another over many lines, in lists, and within the wrappers that APIs
//! put around them. Only one document at a time is in memory, and one that is broken does not hide the next.

use std::io::{self, Read};

use super::window::Window;

/// A document may not be larger.
const MAX_DOCUMENT_BYTES: usize = 512 << 20;
/// Levels of nesting; JSON that is deeper is not read by decoders either.
const MAX_DEPTH: usize = 128;

/// Fields around documents, which are passed into.
const WRAPPERS: [&[u8]; 7] = [b"data", b"result", b"trace", b"traces", b"batches", b"resourceSpans", b"resource_spans"];

/// What comes next in the stream.
pub(super) enum Item<'a> {
    /// A value that is one document, and the line it begins on.
    Document(&'a [u8], u64),
    /// Something that is none was passed over, from this line on.
    Bad { line: u64, why: String },
}

/// Reads documents one by one.
pub(super) struct Documents<R> {
    window: Window<R>,
    /// The place in the window from which the next byte comes.
    at: usize,
    here: Place,
    /// Where what is being read begins.
    begin: Mark,
    open: Vec<Open>,
    /// Closing brackets belong to a document that was broken.
    had_bad: bool,
}

/// Where on a line.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    /// The spaces that the line begins with.
    indent: usize,
    /// Whether nothing but these was before.
    is_first: bool,
}

/// What the present place lies in.
#[derive(Clone, Copy)]
enum Open {
    List {
        is_first: bool,
    },
    /// An object that is a wrapper, behind the value that it wraps.
    Object,
}

/// A place to which reading may go back.
#[derive(Clone, Copy)]
struct Mark {
    at: usize,
    place: Place,
}

enum Stop {
    Io(io::Error),
    /// The text is wrong at the present place, and what begins here may be right.
    Wrong(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Step<T> = Result<T, Stop>;

enum Found {
    Document,
    Nothing,
    End,
}

impl<R: Read> Documents<R> {
    pub(super) fn new(window: Window<R>) -> Self {
        let here = Place { line: 1, indent: 0, is_first: true };
        let begin = Mark { at: 0, place: here };
        Self { window, at: 0, here, begin, open: Vec::new(), had_bad: false }
    }

    /// The next document or fault; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        loop {
            self.forget();
            self.begin = self.mark();
            match self.step() {
                Ok(Found::Document) => {
                    let document = &self.window.unread()[self.begin.at..self.at];
                    return Ok(Some(Item::Document(document, self.begin.place.line)));
                }
                Ok(Found::Nothing) => {}
                Ok(Found::End) => return Ok(None),
                Err(Stop::Io(error)) => return Err(error),
                Err(Stop::Wrong(why)) => {
                    let line = self.begin.place.line;
                    self.recover()?;
                    return Ok(Some(Item::Bad { line, why }));
                }
            }
        }
    }

    /// Lets go of what is read.
    fn forget(&mut self) {
        self.window.pass(self.at);
        self.at = 0;
    }

    fn mark(&self) -> Mark {
        Mark { at: self.at, place: self.here }
    }

    fn peek(&mut self) -> Step<Option<u8>> {
        if self.window.unread().len() <= self.at && !self.window.fill(self.at + 1)? {
            return Ok(None);
        }
        Ok(self.window.unread().get(self.at).copied())
    }

    fn bump(&mut self, byte: u8) {
        self.at += 1;
        match byte {
            b'\n' => self.here = Place { line: self.here.line + 1, indent: 0, is_first: true },
            b' ' | b'\t' | b'\r' if self.here.is_first => self.here.indent += 1,
            _ => self.here.is_first = false,
        }
    }

    fn space(&mut self) -> Step<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) => self.bump(byte),
                other => return Ok(other),
            }
        }
    }

    fn wrong<T>(&self, what: &str, found: Option<u8>) -> Step<T> {
        Err(Stop::Wrong(match found {
            None => "it ends in the middle of a document".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("{what} expected, not {:?}", char::from(byte)),
            Some(byte) => format!("{what} expected, not the byte 0x{byte:02x}"),
        }))
    }

    /// One step: over a bracket, or a document. What it leaves behind is done.
    fn step(&mut self) -> Step<Found> {
        let byte = self.space()?;
        self.begin = self.mark();
        match (self.open.last().copied(), byte) {
            (None, None) => return Ok(Found::End),
            (None, Some(separator @ (b',' | 0x1e))) => self.bump(separator),
            // A byte order mark, also of a file that was joined to others. It is no part of its line.
            (None, Some(0xef)) if self.has_byte_order_mark()? => self.at += 3,
            (None, Some(closing @ (b']' | b'}'))) if self.had_bad => self.bump(closing),
            (None, _) => return self.value_or_list(byte),
            (Some(Open::List { .. }), Some(b']')) | (Some(Open::Object), Some(b'}')) => {
                self.bump(b']');
                self.open.pop();
            }
            (Some(Open::List { is_first: true }), _) => {
                self.open.pop();
                self.open.push(Open::List { is_first: false });
                return self.value_or_list(byte);
            }
            (Some(Open::List { is_first: false }), Some(b',')) => {
                self.bump(b',');
                let byte = self.space()?;
                // A comma too many, as hand-made lists have it.
                if byte != Some(b']') {
                    // What was before is no part of what comes now.
                    return self.value_or_list(byte);
                }
            }
            (Some(Open::List { is_first: false }), _) => return self.wrong("`,` or `]`", byte),
            (Some(Open::Object), Some(b',')) => {
                self.bump(b',');
                self.space()?;
                return self.member();
            }
            (Some(Open::Object), _) => return self.wrong("`,` or `}`", byte),
        }
        Ok(Found::Nothing)
    }

    fn has_byte_order_mark(&mut self) -> Step<bool> {
        Ok(self.window.fill(self.at + 3)? && self.window.unread()[self.at..].starts_with(b"\xef\xbb\xbf"))
    }

    fn value_or_list(&mut self, byte: Option<u8>) -> Step<Found> {
        self.begin = self.mark();
        match byte {
            Some(b'[') => self.enter(Open::List { is_first: true }, b'['),
            Some(b'{') => self.object(),
            _ if self.open.is_empty() => self.wrong("a JSON object or list", byte),
            _ => {
                self.value(0)?;
                Ok(Found::Document)
            }
        }
    }

    fn enter(&mut self, open: Open, byte: u8) -> Step<Found> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Stop::Wrong(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.bump(byte);
        self.open.push(open);
        Ok(Found::Nothing)
    }

    /// An object, which turns out to be a document or a wrapper.
    fn object(&mut self) -> Step<Found> {
        self.bump(b'{');
        if self.space()? == Some(b'}') {
            self.bump(b'}');
            return Ok(Found::Document);
        }
        loop {
            if self.wrapper_key()? {
                self.open.push(Open::Object);
                let byte = self.space()?;
                return self.value_or_list(byte);
            }
            self.value(0)?;
            match self.space()? {
                Some(b',') => {
                    self.bump(b',');
                    self.space()?;
                }
                Some(b'}') => {
                    self.bump(b'}');
                    return Ok(Found::Document);
                }
                other => return self.wrong("`,` or `}`", other),
            }
        }
    }

    /// A member of a wrapper behind the value that it wraps; most say how many there are.
    fn member(&mut self) -> Step<Found> {
        if self.wrapper_key()? {
            let byte = self.space()?;
            return self.value_or_list(byte);
        }
        self.value(0)?;
        Ok(Found::Nothing)
    }

    /// Reads a key and the colon behind it. True if the value is to be passed into.
    fn wrapper_key(&mut self) -> Step<bool> {
        let begin = self.at + 1;
        match self.peek()? {
            Some(b'"') => self.string()?,
            other => return self.wrong("a field's name", other),
        }
        let end = self.at - 1;
        match self.space()? {
            Some(b':') => self.bump(b':'),
            other => return self.wrong("`:`", other),
        }
        let is_open = matches!(self.space()?, Some(b'[' | b'{'));
        Ok(is_open && self.open.len() < MAX_DEPTH && WRAPPERS.contains(&&self.window.unread()[begin..end]))
    }

    fn value(&mut self, depth: usize) -> Step<()> {
        if depth > MAX_DEPTH {
            return Err(Stop::Wrong(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.at > MAX_DOCUMENT_BYTES {
            return Err(Stop::Wrong(format!("a document larger than {} MiB", MAX_DOCUMENT_BYTES >> 20)));
        }
        match self.space()? {
            Some(b'"') => self.string(),
            Some(b'{') => self.members(b'{', b'}', depth),
            Some(b'[') => self.members(b'[', b']', depth),
            Some(b'-' | b'0'..=b'9') => {
                while let Some(byte @ (b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) = self.peek()? {
                    self.bump(byte);
                }
                Ok(())
            }
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            other => self.wrong("a value", other),
        }
    }

    fn word(&mut self, word: &[u8]) -> Step<()> {
        for expected in word {
            match self.peek()? {
                Some(byte) if byte == *expected => self.bump(byte),
                other => return self.wrong("true, false or null", other),
            }
        }
        Ok(())
    }

    /// The members of a list or an object within a document.
    fn members(&mut self, open: u8, close: u8, depth: usize) -> Step<()> {
        self.bump(open);
        if self.space()? == Some(close) {
            self.bump(close);
            return Ok(());
        }
        loop {
            if open == b'{' {
                match self.space()? {
                    Some(b'"') => self.string()?,
                    other => return self.wrong("a field's name", other),
                }
                match self.space()? {
                    Some(b':') => self.bump(b':'),
                    other => return self.wrong("`:`", other),
                }
            }
            self.value(depth + 1)?;
            match self.space()? {
                Some(b',') => self.bump(b','),
                Some(byte) if byte == close => {
                    self.bump(close);
                    return Ok(());
                }
                other => return self.wrong(if open == b'{' { "`,` or `}`" } else { "`,` or `]`" }, other),
            }
        }
    }

    fn string(&mut self) -> Step<()> {
        self.bump(b'"');
        loop {
            let rest = self.window.unread().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
            self.at += plain;
            if self.at > MAX_DOCUMENT_BYTES {
                return Err(Stop::Wrong(format!("a document larger than {} MiB", MAX_DOCUMENT_BYTES >> 20)));
            }
            match self.peek()? {
                Some(b'"') => {
                    self.bump(b'"');
                    return Ok(());
                }
                Some(b'\\') => {
                    self.bump(b'\\');
                    match self.peek()? {
                        Some(byte @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) => self.bump(byte),
                        other => return self.wrong("an escaped character", other),
                    }
                }
                Some(byte) if byte >= 0x20 => {}
                other => return self.wrong("the end of a text", other),
            }
        }
    }

    /// Goes on behind a fault: at the next line that begins a document and lies no deeper than the one with the fault.
    ///
    /// A document that is cut off takes what comes next for its own, up to where that cannot be. So reading goes back to
    /// where the fault began, unless more is in between than fits into memory.
    fn recover(&mut self) -> io::Result<()> {
        self.had_bad = true;
        let Mark { at, place } = self.begin;
        // Between two documents, the present place may begin a good one.
        let mut may_begin = !self.open.is_empty() && self.at == at;
        self.open.clear();
        if self.at <= MAX_DOCUMENT_BYTES {
            (self.at, self.here) = (at, place);
        }
        loop {
            if self.at > 1 << 20 {
                self.forget();
            }
            match self.peek() {
                Err(Stop::Io(error)) => return Err(error),
                Ok(None) | Err(Stop::Wrong(_)) => return Ok(()),
                Ok(Some(b'{' | b'[')) if may_begin && self.here.is_first && self.here.indent <= place.indent => {
                    return Ok(());
                }
                Ok(Some(byte)) => self.bump(byte),
            }
            may_begin = true;
        }
    }
}

#[cfg(test)]
mod tests;
