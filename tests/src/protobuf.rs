//! Protobuf by hand, for messages that no encoder makes.

/// A field of a message by its number, at most 15, and its content.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut out = vec![number << 3 | 2];
    while length >= 128 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    [&out, content].concat()
}
