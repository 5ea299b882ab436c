//! Whether bytes have the checksum that was written beside them.

/// CRC-32 of the bytes compared with what it should be. When fuzzing, all checksums hold: else no input that was changed
/// would get any further, and a checksum keeps nobody from writing a file that has the right one.
pub(crate) fn holds(bytes: &[u8], expected: u32) -> bool {
    cfg!(fuzzing) || crc32fast::hash(bytes) == expected
}
