//! Numbers of many traces, packed: most of them are small.

/// `N` numbers of each of some traces, in the order of the traces' rows; a row has at most one entry.
#[derive(Clone, Debug)]
pub(crate) struct Postings<const N: usize> {
    bytes: Vec<u8>,
    /// One more than the last row.
    end: u32,
    len: usize,
}

impl<const N: usize> Default for Postings<N> {
    fn default() -> Self {
        Self { bytes: Vec::new(), end: 0, len: 0 }
    }
}

/// Seven bits a byte, the low ones first, of a number below 2^64.
const MOST_VARINT_BYTES: usize = 10;

impl<const N: usize> Postings<N> {
    /// Adds a row's numbers; rows come in ascending order.
    pub(crate) fn push(&mut self, row: u32, numbers: [u64; N]) {
        debug_assert!(row >= self.end, "rows ascend");
        // Doubling would leave half of the memory unused.
        let most = (N + 1) * MOST_VARINT_BYTES;
        if self.bytes.capacity() - self.bytes.len() < most {
            self.bytes.reserve_exact(self.bytes.len() / 8 + most);
        }
        put(&mut self.bytes, u64::from(row - self.end));
        numbers.into_iter().for_each(|number| put(&mut self.bytes, number));
        self.end = row + 1;
        self.len += 1;
    }

    /// How many rows have an entry.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Rows with their numbers, ascending.
    pub(crate) fn iter(&self) -> Iter<'_, N> {
        Iter { bytes: &self.bytes, next_row: 0 }
    }

    /// Those rows that have a new number, under it; new numbers ascend as old ones do.
    pub(crate) fn renumbered(&self, new_rows: &[Option<u32>]) -> Self {
        let mut kept = Self::default();
        for (row, numbers) in self.iter() {
            if let Some(row) = new_rows[row] {
                kept.push(row, numbers);
            }
        }
        kept
    }
}

pub(crate) struct Iter<'a, const N: usize> {
    bytes: &'a [u8],
    next_row: u64,
}

impl<const N: usize> Iterator for Iter<'_, N> {
    type Item = (usize, [u64; N]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row + get(&mut self.bytes)?;
        self.next_row = row + 1;
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = get(&mut self.bytes)?;
        }
        Some((row as usize, numbers))
    }
}

#[inline]
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[inline]
fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_and_some_rows_can_be_dropped(
            numbers in prop::collection::btree_map(0u32..1_000, any::<[u64; 3]>(), 0..50),
        ) {
            let mut postings = Postings::default();
            numbers.iter().for_each(|(row, numbers)| postings.push(*row, *numbers));
            let given: Vec<_> = numbers.iter().map(|(row, numbers)| (*row as usize, *numbers)).collect();
            prop_assert_eq!(postings.iter().collect::<Vec<_>>(), given.clone());
            let halves: Vec<Option<u32>> = (0..1_000).map(|row| (row % 2 == 0).then_some(row / 2)).collect();
            let kept: Vec<_> =
                given.iter().filter(|(row, _)| row % 2 == 0).map(|(row, numbers)| (row / 2, *numbers)).collect();
            prop_assert_eq!(postings.renumbered(&halves).iter().collect::<Vec<_>>(), kept);
        }
    }
}
