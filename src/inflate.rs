//! A gzip file (RFC 1952) unpacked (RFC 1951), small and not fast: the kernel's own configuration is the only one that
//! is read.

/// Unpacks the first member of a gzip file, whose checksum is not looked at. `None`: it is damaged, or holds more than
/// `most` bytes.
pub fn gunzip(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_SUM: u8 = 2;
    let (head, mut rest) = bytes.split_at_checked(10)?;
    let flags = *head.get(3)?;
    if !head.starts_with(&[0x1f, 0x8b, 8]) {
        return None;
    }
    if flags & EXTRA != 0 {
        let (size, behind) = rest.split_at_checked(2)?;
        rest = behind.get(usize::from(u16::from_le_bytes(size.try_into().ok()?))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            rest = rest.get(rest.iter().position(|byte| *byte == 0)? + 1..)?;
        }
    }
    if flags & HEADER_SUM != 0 {
        rest = rest.get(2..)?;
    }
    inflate(&mut Bits { bytes: rest, at: 0 }, most)
}

/// Bits of a byte string, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<usize> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// A number of so many bits.
    fn number(&mut self, bits: u16) -> Option<usize> {
        (0..bits).try_fold(0, |number, place| Some(number | self.bit()? << place))
    }
}

/// A canonical Huffman code: how many codes each length has, and the symbols in the order of their codes.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn of(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0; 16];
        for length in lengths.iter().filter(|length| **length > 0) {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let mut symbols: Vec<u16> = (0..lengths.len() as u16).collect();
        let length = |symbol: u16| lengths.get(usize::from(symbol)).copied().unwrap_or(0);
        symbols.retain(|symbol| length(*symbol) > 0);
        symbols.sort_unstable_by_key(|symbol| (length(*symbol), *symbol));
        Some(Self { counts, symbols })
    }

    /// The next symbol.
    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        // The code so far, the first code of its length, and where the symbols of that length begin.
        let (mut code, mut first, mut from) = (0, 0, 0);
        for count in self.counts.get(1..)? {
            code |= bits.bit()?;
            let count = usize::from(*count);
            if code < first + count {
                return self.symbols.get(from + code.checked_sub(first)?).map(|symbol| usize::from(*symbol));
            }
            from += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// What the symbols of lengths and of distances stand for: the smallest value, and how many bits are added to it.
const LENGTHS: [(u16, u16); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

fn distance(symbol: usize, bits: &mut Bits<'_>) -> Option<usize> {
    match symbol {
        0..4 => Some(symbol + 1),
        4..30 => {
            let more = symbol as u16 / 2 - 1;
            Some(((2 + symbol % 2) << more) + 1 + bits.number(more)?)
        }
        _ => None,
    }
}

fn inflate(bits: &mut Bits<'_>, most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let last = bits.bit()? == 1;
        match bits.number(2)? {
            0 => stored(bits, &mut out)?,
            1 => {
                let mut lengths = [8; 288];
                lengths.get_mut(144..256)?.fill(9);
                lengths.get_mut(256..280)?.fill(7);
                packed(bits, &Code::of(&lengths)?, &Code::of(&[5; 30])?, &mut out, most)?;
            }
            2 => {
                let (literals, distances) = codes(bits)?;
                packed(bits, &literals, &distances, &mut out, most)?;
            }
            _ => return None,
        }
        if out.len() > most {
            return None;
        }
        if last {
            return Some(out);
        }
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Option<()> {
    let at = bits.at.div_ceil(8);
    let size: [u8; 2] = bits.bytes.get(at..at + 2)?.try_into().ok()?;
    let end = at + 4 + usize::from(u16::from_le_bytes(size));
    out.extend_from_slice(bits.bytes.get(at + 4..end)?);
    bits.at = end * 8;
    Some(())
}

/// The two codes of a block that brings its own.
fn codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances) = (bits.number(5)? + 257, bits.number(5)? + 1);
    let count = bits.number(4)? + 4;
    let mut lengths = [0; 19];
    for place in ORDER.iter().take(count) {
        *lengths.get_mut(*place)? = bits.number(3)? as u8;
    }
    let code = Code::of(&lengths)?;
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.read(bits)? {
            16 => (*lengths.last()?, 3 + bits.number(2)?),
            17 => (0, 3 + bits.number(3)?),
            18 => (0, 11 + bits.number(7)?),
            length => (length as u8, 1),
        };
        lengths.resize(lengths.len() + times, length);
    }
    let (literal, distance) = lengths.get(..literals + distances)?.split_at_checked(literals)?;
    Some((Code::of(literal)?, Code::of(distance)?))
}

fn packed(bits: &mut Bits<'_>, literals: &Code, distances: &Code, out: &mut Vec<u8>, most: usize) -> Option<()> {
    while out.len() <= most {
        match literals.read(bits)? {
            literal @ 0..256 => out.push(literal as u8),
            256 => return Some(()),
            symbol => {
                let (least, more) = *LENGTHS.get(symbol - 257)?;
                let length = usize::from(least) + bits.number(more)?;
                let symbol = distances.read(bits)?;
                let from = out.len().checked_sub(distance(symbol, bits)?)?;
                for at in (from..).take(length) {
                    out.push(*out.get(at)?);
                }
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    fn gzip(bytes: &[u8], how: &str) -> Vec<u8> {
        let mut gzip =
            Command::new("gzip").args([how, "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, bytes) = (gzip.stdin.take().unwrap(), bytes.to_vec());
        let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
        let packed = gzip.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        packed
    }

    #[test]
    fn what_gzip_packs_is_unpacked() {
        let own = include_bytes!("inflate.rs");
        // Not to be packed: stored blocks.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..100_000).map(|_| noise()).collect();
        for bytes in [&own[..], &noise, &own.repeat(40), b"", b"a", &[7; 70_000]] {
            for how in ["-1", "-6", "-9"] {
                assert!(gunzip(&gzip(bytes, how), bytes.len()).unwrap() == bytes, "{how} {}", bytes.len());
            }
        }
        let packed = gzip(own, "-9");
        assert_eq!(gunzip(&packed, own.len() - 1), None, "more than the most");
    }

    #[test]
    fn damage_is_no_panic() {
        let packed = gzip(include_bytes!("inflate.rs"), "-9");
        for cut in 0..packed.len() - 8 {
            assert_eq!(gunzip(&packed[..cut], 1 << 20), None);
            let mut turned = packed.clone();
            turned[cut] ^= 0x55;
            let _ = gunzip(&turned, 1 << 20);
        }
    }
}
