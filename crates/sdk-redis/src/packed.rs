//! Commands that are encoded already, as synchronous connections get pipelines: an array of bulk strings each, see
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use crate::describe_parts;
use tracewell::Key;

/// Name and text of the first commands, up to `most`. What is not understood ends the list.
pub(crate) fn commands(mut bytes: &[u8], most: usize) -> Vec<(Key, String)> {
    let mut commands = Vec::new();
    while commands.len() < most
        && let Some((name, arguments, rest)) = command(bytes)
    {
        commands.push(describe_parts(name, arguments));
        bytes = rest;
    }
    commands
}

/// `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`: the name, the number of its arguments, and what follows.
fn command(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let (parts, rest) = length(bytes, b'*')?;
    let arguments = parts.checked_sub(1)?;
    let (name, mut rest) = bulk(rest)?;
    for _ in 0..arguments {
        (_, rest) = bulk(rest)?;
    }
    Some((name, arguments, rest))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = length(bytes, b'$')?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

fn length(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let bytes = bytes.strip_prefix(&[kind])?;
    let end = bytes.iter().take(20).position(|byte| *byte == b'\r')?;
    let length = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((length, bytes[end..].strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_commands_are_named_and_their_data_is_not_told() {
        let mut pipeline = redis::pipe();
        pipeline.set("secret", "*1\r\n$4\r\nQUIT\r\n").get("secret").cmd("hgetall").arg("secret");
        let packed = pipeline.get_packed_pipeline();
        let names = |most| commands(&packed, most).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(names(10), ["SET ? ?", "GET ?", "HGETALL ?"]);
        assert_eq!(names(2), ["SET ? ?", "GET ?"]);
        for cut in 0..packed.len() {
            assert!(commands(&packed[..cut], 10).len() < 3);
        }
        for other in
            [&b"*0\r\n"[..], b"*-1\r\n", b"*1\r\n$99999999999999999999\r\n", b"*9999999999\r\n$1\r\na\r\n", b"PING\r\n"]
        {
            assert_eq!(commands(other, 10), []);
        }
    }
}
