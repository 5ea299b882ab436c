//! Footers with one wrong byte: CRC-32 says which byte it is and what it was.
//!
//! A segment without its footer is lost as a whole, however well its rows are. For all bytes but one being right, there is
//! one place and one value that make the checksum right, found by running the checksum backwards over zeros: an error of one
//! byte changes a checksum in a way that depends only on the error and on how many bytes follow. What is mended so is only
//! gone by as far as the parts it names have the checksums it says.

use super::footer::{MAGIC, TAIL_BYTES};

/// The checksum's table: of each byte, alone.
const TABLE: [u32; 256] = table();
/// For each upper byte of an entry, which entry it is: no two have the same.
const ENTRY: [u8; 256] = entries();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

const fn entries() -> [u8; 256] {
    let table = table();
    let mut entries = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        entries[(table[byte] >> 24) as usize] = byte as u8;
        byte += 1;
    }
    entries
}

/// Makes bytes right of which one may be wrong; false if they are not those of the checksum.
fn mend_bytes(bytes: &mut [u8], checksum: u32) -> bool {
    let mut difference = crc32fast::hash(bytes) ^ checksum;
    if difference == 0 {
        return true;
    }
    for place in (0..bytes.len()).rev() {
        let error = ENTRY[(difference >> 24) as usize];
        if TABLE[error as usize] == difference {
            bytes[place] ^= error;
            return true;
        }
        // As it was before the byte that follows the error.
        difference = (difference ^ TABLE[error as usize]) << 8 | u32::from(error);
    }
    false
}

/// Finds the footer of a segment's file in what it ends with, if no more than a byte of it or of what follows it is wrong.
/// `end` is the end of the file, as far as it was read.
pub(super) fn find_footer(end: &[u8]) -> Option<Vec<u8>> {
    let tail_at = end.len().checked_sub(TAIL_BYTES)?;
    let tail = &end[tail_at..];
    let number = |at: usize| tail.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (length, checksum) = (number(0)?, number(4)?);
    let is_magic_wrong = tail[8..].iter().zip(MAGIC).filter(|(found, right)| found != right).count();
    let footer = |length: u32| Some(end.get(tail_at.checked_sub(length as usize)?..tail_at)?.to_vec());
    if is_magic_wrong > 1 {
        return None;
    }
    if let Some(mut bytes) = footer(length) {
        let found = crc32fast::hash(&bytes);
        let is_checksum_wrong = (found ^ checksum).to_le_bytes().iter().filter(|byte| **byte != 0).count() == 1;
        if is_checksum_wrong || mend_bytes(&mut bytes, checksum) {
            return Some(bytes);
        }
    }
    // Or a byte of its length is.
    let lengths = (0..4).flat_map(|byte| (1..=255u32).map(move |error| length ^ error << (8 * byte)));
    lengths.filter_map(footer).find(|bytes| crc32fast::hash(bytes) == checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_with_one_wrong_byte_is_found() {
        let mut random = fastrand::Rng::with_seed(5);
        for length in [1usize, 2, 30, 1000] {
            let footer: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let mut file: Vec<u8> = (0..2000).map(|_| random.u8(..)).collect();
            let begin = file.len();
            file.extend(&footer);
            file.extend((footer.len() as u32).to_le_bytes());
            file.extend(crc32fast::hash(&footer).to_le_bytes());
            file.extend(MAGIC);
            assert_eq!(find_footer(&file).as_deref(), Some(&footer[..]), "nothing is wrong");
            for place in begin..file.len() {
                let mut wrong = file.clone();
                wrong[place] ^= random.u8(1..);
                assert_eq!(find_footer(&wrong).as_deref(), Some(&footer[..]), "{length} bytes, byte {place} is wrong");
            }
        }
    }

    #[test]
    fn what_is_no_footer_is_not_taken_for_one() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..300 {
            let mut file: Vec<u8> = (0..300).map(|_| random.u8(..)).collect();
            let at = file.len() - TAIL_BYTES;
            file[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
            file[at + 8..].copy_from_slice(MAGIC);
            assert_eq!(find_footer(&file), None);
        }
        assert_eq!(find_footer(&[]), None);
        assert_eq!(find_footer(&[0; TAIL_BYTES]), None);
    }
}
