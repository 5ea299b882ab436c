//! W3C baggage: small application values that travel with the context (<https://www.w3.org/TR/baggage/>).

use std::fmt::Write as _;

/// Keys and values that travel with the context to every service downstream, in clear text: never put secrets in.
///
/// Never more than [`Baggage::MAX_MEMBERS`] members or [`Baggage::MAX_BYTES`] bytes as a header; what does not fit is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    key: String,
    value: String,
    /// `;`-separated, as received, without the leading `;`.
    properties: String,
}

impl Baggage {
    pub(crate) const EMPTY: Self = Self { members: Vec::new() };

    /// The members that the specification obliges every implementation to carry.
    pub const MAX_MEMBERS: usize = 64;
    /// The header's size that the specification obliges every implementation to carry.
    pub const MAX_BYTES: usize = 8192;

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|member| member.key == key).map(|member| member.value.as_str())
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|member| (member.key.as_str(), member.value.as_str()))
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Sets a value. False when the key is not an HTTP token or the limits would be passed; nothing changes then.
    pub fn insert(&mut self, key: &str, value: &str) -> bool {
        self.insert_member(key, value.to_owned(), String::new())
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|member| member.key != key);
    }

    /// Reads a header's value. Members that are not valid are left out, as are those beyond the limits; the last of
    /// several values for one key counts.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let mut baggage = Self::default();
        // A header far over the limit would make every sender pay for one; cut it rather than read it all.
        for member in header.split(',').take(4 * Self::MAX_MEMBERS) {
            let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
            let Some((key, value)) = pair.split_once('=') else { continue };
            let value = value.trim();
            if !value.bytes().all(is_baggage_octet_or_percent) {
                continue;
            }
            let properties = properties.trim();
            // Control characters would make the outgoing header invalid and lose all of it.
            if !properties.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',') {
                continue;
            }
            baggage.insert_member(key.trim(), percent_decode(value), properties.to_owned());
        }
        baggage
    }

    /// The header's value; empty when there is no member.
    #[must_use]
    pub fn to_header(&self) -> String {
        let mut header = String::new();
        for member in &self.members {
            if !header.is_empty() {
                header.push(',');
            }
            header.push_str(&member.key);
            header.push('=');
            percent_encode(&member.value, &mut header);
            if !member.properties.is_empty() {
                header.push(';');
                header.push_str(&member.properties);
            }
        }
        header
    }

    fn insert_member(&mut self, key: &str, value: String, properties: String) -> bool {
        if !is_token(key) {
            return false;
        }
        let member = Member { key: key.to_owned(), value, properties };
        let others = self.members.iter().filter(|other| other.key != key);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), other| (count + 1, bytes + other.size_bytes() + 1));
        if count + 1 > Self::MAX_MEMBERS || bytes + member.size_bytes() > Self::MAX_BYTES {
            return false;
        }
        match self.members.iter_mut().find(|other| other.key == key) {
            Some(other) => *other = member,
            None => self.members.push(member),
        }
        true
    }
}

impl Member {
    fn size_bytes(&self) -> usize {
        let value: usize = self.value.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
        let properties = if self.properties.is_empty() { 0 } else { self.properties.len() + 1 };
        self.key.len() + 1 + value + properties
    }
}

fn is_token(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `baggage-octet`: printable ASCII without space, `"`, `,`, `;` and `\`.
fn is_baggage_octet_or_percent(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// What is written as it is: `%` has to be encoded so that decoding gives back what was set.
fn is_plain(byte: u8) -> bool {
    is_baggage_octet_or_percent(byte) && byte != b'%'
}

pub(crate) fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A `%` that is not followed by two digits stands for itself; what is not UTF-8 becomes U+FFFD, as specified.
pub(crate) fn percent_decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
