//! Columns of texts (or bytes) that hardly repeat: ids, URLs, statements.

use super::bytes::{Damaged, Input, Zstd, get_bytes, put_bytes};
use super::numbers::{get_numbers, put_numbers};
use super::runs::Runs;

/// Byte strings, one after the other.
#[derive(Clone, Debug, Default)]
pub(in crate::embedded::segment) struct Texts {
    bytes: Vec<u8>,
    /// Where each ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Texts {
    pub(in crate::embedded::segment) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(in crate::embedded::segment) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * 4
    }

    pub(in crate::embedded::segment) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(in crate::embedded::segment) fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] as usize };
        &self.bytes[start..self.ends[place] as usize]
    }

    /// The texts at some places, all of which are there.
    fn pick(&self, wanted: &Runs) -> Self {
        let mut picked = Self { bytes: Vec::new(), ends: Vec::with_capacity(wanted.len()) };
        for run in wanted.iter() {
            let start = if run.start == 0 { 0 } else { self.ends[run.start - 1] };
            let moved = picked.bytes.len() as u32;
            picked.bytes.extend_from_slice(&self.bytes[start as usize..self.ends[run.end - 1] as usize]);
            picked.ends.extend(self.ends[run].iter().map(|end| end - start + moved));
        }
        picked
    }

    pub(in crate::embedded::segment) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(in crate::embedded::segment) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place))
    }
}

const PLAIN: u8 = 0;
const PATTERN: u8 = 1;

/// A pattern is looked for in texts of one length, this many of them at least, and not too long ones.
const PATTERN_TEXTS: usize = 16;
const PATTERN_BYTES: usize = 128;

/// Appends texts; their count is known to the reader.
///
/// Texts of one length that agree in some places and hold hexadecimal digits in all others (`req-` and 16 digits, UUIDs)
/// become a pattern and half a byte for each digit; a general compressor takes longer and gets less.
pub(in crate::embedded::segment) fn put_texts(zstd: &mut Zstd, texts: &Texts, out: &mut Vec<u8>) {
    if texts.len() == 0 {
        return;
    }
    if let Some(pattern) = Pattern::of(texts) {
        out.push(PATTERN);
        pattern.put(texts, out);
        return;
    }
    out.push(PLAIN);
    let lengths: Vec<u64> = texts.iter().map(|text| text.len() as u64).collect();
    put_numbers(zstd, &lengths, out);
    put_bytes(zstd, &texts.bytes, out);
}

/// Reads what [`put_texts`] wrote, of so many texts those that are wanted.
pub(in crate::embedded::segment) fn get_texts(
    zstd: &mut Zstd,
    input: &mut Input<'_>,
    count: usize,
    wanted: &Runs,
) -> Result<Texts, Damaged> {
    wanted.check(count)?;
    let mut texts = Texts::default();
    if count == 0 {
        return Ok(texts);
    }
    match input.byte()? {
        PATTERN => Pattern::get(input, count, wanted),
        PLAIN => {
            let lengths = get_numbers(zstd, input, count, &Runs::all(count))?;
            let mut end = 0u32;
            for length in lengths {
                let length = u32::try_from(length).map_err(|_| Damaged("a text is too long"))?;
                end = end.checked_add(length).ok_or(Damaged("texts are too long"))?;
                texts.ends.push(end);
            }
            texts.bytes = get_bytes(zstd, input, end as usize)?;
            if texts.bytes.len() != end as usize {
                return Err(Damaged("texts have another length"));
            }
            Ok(if wanted.len() == count { texts } else { texts.pick(wanted) })
        }
        _ => Err(Damaged("a column of texts has an unknown tag")),
    }
}

/// What texts of one length have in common: for each place the byte, or 0xff (which is in no UTF-8) for a digit.
struct Pattern(Vec<u8>);

const DIGIT: u8 = 0xff;

impl Pattern {
    fn of(texts: &Texts) -> Option<Self> {
        let first = texts.get(0);
        let fits = texts.len() >= PATTERN_TEXTS
            && (1..=PATTERN_BYTES).contains(&first.len())
            && !first.contains(&DIGIT)
            && texts.ends.iter().enumerate().all(|(place, end)| *end as usize == (place + 1) * first.len());
        if !fits {
            return None;
        }
        let mut pattern = first.to_vec();
        for text in texts.iter() {
            for (known, byte) in pattern.iter_mut().zip(text) {
                if known != byte {
                    *known = DIGIT;
                }
            }
        }
        let digits: Vec<usize> = (0..pattern.len()).filter(|place| pattern[*place] == DIGIT).collect();
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let all_hex = texts.iter().all(|text| digits.iter().all(|place| is_hex(&text[*place])));
        all_hex.then_some(Self(pattern))
    }

    fn put(&self, texts: &Texts, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        out.extend_from_slice(&self.0);
        let digits: Vec<usize> = (0..self.0.len()).filter(|place| self.0[*place] == DIGIT).collect();
        let mut high: Option<u8> = None;
        for text in texts.iter() {
            for place in &digits {
                let byte = text[*place];
                let digit = if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
                match high.take() {
                    None => high = Some(digit << 4),
                    Some(high) => out.push(high | digit),
                }
            }
        }
        out.extend(high);
    }

    fn get(input: &mut Input<'_>, count: usize, wanted: &Runs) -> Result<Texts, Damaged> {
        let length = usize::from(input.byte()?);
        let pattern = input.take(length)?;
        let digits: Vec<usize> = (0..length).filter(|place| pattern[*place] == DIGIT).collect();
        let total = digits.len().checked_mul(count).ok_or(Damaged("a pattern is too long"))?;
        let packed = input.take(total.div_ceil(2))?;
        let room = (length * wanted.len(), wanted.len());
        let mut texts = Texts { bytes: Vec::with_capacity(room.0), ends: Vec::with_capacity(room.1) };
        for place in wanted.places() {
            let start = texts.bytes.len();
            texts.bytes.extend_from_slice(pattern);
            for (at, digit) in (place * digits.len()..).zip(&digits) {
                let pair = packed[at / 2];
                let half = if at.is_multiple_of(2) { pair >> 4 } else { pair & 15 };
                texts.bytes[start + digit] = b"0123456789abcdef"[usize::from(half)];
            }
            texts.ends.push(texts.bytes.len() as u32);
        }
        Ok(texts)
    }
}
