//! Sizes, durations and bytes as people write them.

use std::time::Duration;

use super::super::types::Refused;

fn refuse<T>(text: &str, wanted: &str) -> Result<T, Refused> {
    Err(Refused(format!("{text:?} is not {wanted}")))
}

/// The leading number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// `64M`, `64MiB`, `65536`: powers of 1024.
pub fn size(text: &str) -> Result<u64, Refused> {
    let shift = |unit: &str| match unit.strip_suffix("iB").unwrap_or(unit) {
        "" if unit.is_empty() => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        "T" => Some(40),
        _ => None,
    };
    let bytes = split(text).and_then(|(number, unit)| number.checked_mul(1 << shift(unit)?));
    bytes.map_or_else(|| refuse(text, "a size such as \"64K\", \"64M\" or \"1G\""), Ok)
}

/// `500ms`, `10s`, `1m`.
pub fn duration(text: &str) -> Result<Duration, Refused> {
    let millis = split(text).and_then(|(number, unit)| {
        number.checked_mul(match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            _ => return None,
        })
    });
    millis.map(Duration::from_millis).map_or_else(|| refuse(text, "a time such as \"500ms\", \"10s\" or \"1m\""), Ok)
}

/// Pairs of hexadecimal digits.
pub fn hex(text: &str) -> Result<Vec<u8>, Refused> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map_or_else(|| refuse(text, "an even number of hexadecimal digits"), Ok)
}

/// The bits of a mode, written in octal.
pub fn mode(text: &str) -> Result<u32, Refused> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777 && !text.starts_with('+'));
    bits.map_or_else(|| refuse(text, "a mode in octal, such as \"0700\""), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("65536", 65536), ("64K", 65536), ("64KiB", 65536), ("16M", 1 << 24), ("2T", 1 << 41)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "64 M", "64MB", "64m", "-1", "1.5M", "iB", "5iB", "99999999999T", "18446744073709551616"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("1m", 60_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "1h", "-1s", "1.5s", "10 s", "18446744073709551615m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_and_modes() {
        assert_eq!(hex("0a00FF"), Ok(vec![10, 0, 255]));
        assert_eq!(hex(""), Ok(vec![]));
        assert!(hex("0a0").is_err() && hex("zz").is_err() && hex("+1").is_err());
        assert_eq!(mode("0700"), Ok(0o700));
        assert!(mode("").is_err() && mode("888").is_err() && mode("10000").is_err() && mode("+700").is_err());
    }
}
