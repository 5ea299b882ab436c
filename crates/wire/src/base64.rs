//! Base64 as protobuf's JSON mapping has it: written in the standard alphabet with padding, read in either alphabet with
//! or without. Thirty lines are less than a dependency.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = u32::from_be_bytes([0, chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)]);
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) as usize & 63;
            out.push(if place <= chunk.len() { ALPHABET[digit] as char } else { '=' });
        }
    }
    out
}

/// `None` if a character is of neither alphabet or the length is impossible.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for place in 0..4 {
            let digit = match chunk.get(place) {
                None => 0,
                Some(b'-') => 62,
                Some(b'_') => 63,
                Some(byte) => ALPHABET.iter().position(|known| known == byte)? as u32,
            };
            group = group << 6 | digit;
        }
        out.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_come_back_in_either_alphabet() {
        for length in 0..20u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(97).wrapping_add(200)).collect();
            let text = super::encode(&bytes);
            assert_eq!(text.len() % 4, 0);
            assert_eq!(super::decode(&text), Some(bytes.clone()));
            assert_eq!(super::decode(text.replace('+', "-").replace('/', "_").trim_end_matches('=')), Some(bytes));
        }
        assert_eq!(super::encode(b"\xfb\xff"), "+/8=");
        assert_eq!(super::decode("a"), None);
        assert_eq!(super::decode("ab c"), None);
    }
}
