//! The hash that trace indexes and filters are made with. It is part of the format and never changes.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    (product as u64) ^ (product >> 64) as u64
}

/// Of bytes: eight at a time, little-endian, the last padded with zeros; then their number.
#[inline]
pub(super) fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ FACTOR;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(
            hash,
            u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]),
        );
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    mix(hash.rotate_left(29), bytes.len() as u64 ^ 0xa5a5_a5a5)
}

/// Of a number.
#[inline]
pub(super) fn of_number(seed: u64, number: u64) -> u64 {
    mix(mix(seed ^ FACTOR, number).rotate_left(29), 0x5a5a_5a5a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        let bytes = b"req-0123456789abcdef";
        let got = [of_bytes(0, b""), of_bytes(1, bytes), of_bytes(1, &bytes[..8]), of_number(7, 500)];
        assert_eq!(
            got.map(|hash| format!("{hash:016x}")),
            ["af26484db6b26df7", "8ea7722db2d1953a", "1fd7f9cd30064810", "8e97c29ad29ca81d"]
        );
    }

    #[test]
    fn near_inputs_lie_far_apart() {
        let mut buckets = [0u32; 256];
        for number in 0..25_600u64 {
            buckets[(of_bytes(0, &number.to_le_bytes()) >> 56) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (50..150).contains(count)), "{buckets:?}");
    }
}
