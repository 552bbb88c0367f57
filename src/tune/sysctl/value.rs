//! Values of sysctls: words and numbers, compared as the kernel reads them. Pure.

use crate::config::Goal;

/// One field as a number, by the kernel's rules (proc_get_long() in kernel/sysctl.c: base 0, a minus in front).
/// What is larger than any goal can be, such as kernel.shmmax, counts as the largest.
pub fn number(word: &str) -> Option<i64> {
    let (minus, digits) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let size = i64::from_str_radix(digits, base).unwrap_or(i64::MAX);
    Some(if minus { -size } else { size })
}

/// The only field of a text, if it is one number.
pub fn single(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(word), None) => number(word),
        _ => None,
    }
}

/// All fields of a text, if each is a number.
pub fn numbers(text: &str) -> Option<Vec<i64>> {
    text.split_whitespace().map(number).collect()
}

/// Whether two texts mean the same to the kernel: the same words, or the same numbers.
pub fn same(one: &str, other: &str) -> bool {
    let (mut a, mut b) = (one.split_whitespace(), other.split_whitespace());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if number(a).is_some() && number(a) == number(b) => {}
            _ => return false,
        }
    }
}

/// A text as people write it: the kernel's tabs between numbers become spaces; other text stays as it is.
pub fn shown(text: &str) -> String {
    if numbers(text).is_some() {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        text.trim_end_matches('\n').to_owned()
    }
}

/// What must be written to come from `current` to the goal: `None` when nothing must.
///
/// # Errors
/// Why the goal does not fit this key: another number of fields, or a direction for what is no number.
pub fn target(goal: &Goal, current: Option<&str>) -> Result<Option<String>, String> {
    match (goal, current) {
        (Goal::Exclude, _) => Ok(None),
        (Goal::Set(text), None) => Ok(Some(text.clone())),
        (Goal::Set(text), Some(current)) if same(text, current) => Ok(None),
        (Goal::Set(text), Some(current)) => {
            fits(numbers(text), numbers(current), current)?;
            Ok(Some(text.clone()))
        }
        (Goal::AtLeast(_) | Goal::AtMost(_), None) => {
            Err("cannot be read, so it has no direction: name a value".into())
        }
        (Goal::AtLeast(wanted), Some(current)) => toward(wanted, current, i64::lt),
        (Goal::AtMost(wanted), Some(current)) => toward(wanted, current, i64::gt),
    }
}

/// The kernel takes fewer numbers than a key has and silently keeps the rest (do_proc_dointvec()): never meant.
fn fits(wanted: Option<Vec<i64>>, current: Option<Vec<i64>>, text: &str) -> Result<(), String> {
    match (wanted, current) {
        (Some(wanted), Some(current)) if !current.is_empty() && wanted.len() != current.len() => {
            Err(format!("has {} field(s), now \"{}\", and {} were given", current.len(), shown(text), wanted.len()))
        }
        _ => Ok(()),
    }
}

fn toward(wanted: &[i64], current: &str, worse: fn(&i64, &i64) -> bool) -> Result<Option<String>, String> {
    let Some(is) = numbers(current) else {
        return Err(format!("is \"{}\", which is no number: name a value", shown(current)));
    };
    fits(Some(wanted.to_vec()), Some(is.clone()), current)?;
    if wanted.len() != is.len() {
        return Err("is empty now: name a value".into());
    }
    if !is.iter().zip(wanted).any(|(is, wanted)| worse(is, wanted)) {
        return Ok(None);
    }
    // A field that is good enough goes back as the kernel printed it: it may be beyond what an i64 holds.
    let fields = current.split_whitespace().zip(is.iter().zip(wanted));
    let text: Vec<String> = fields
        .map(|(word, (is, wanted))| if worse(is, wanted) { wanted.to_string() } else { word.to_owned() })
        .collect();
    Ok(Some(text.join(" ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn to(goal: &Goal, current: &str) -> Option<String> {
        target(goal, Some(current)).unwrap()
    }

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        for (word, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("01", Some(1)),
            ("18446744073692774399", Some(i64::MAX)),
            ("", None),
            ("-", None),
            ("+1", None),
            ("0x", None),
            ("08", None),
            ("1k", None),
            ("--1", None),
        ] {
            assert_eq!(number(word), value, "{word:?}");
        }
        assert_eq!((single("1"), single("1 5"), single("")), (Some(1), None, None));
    }

    #[test]
    fn texts_are_compared_by_words() {
        assert!(same("4096 131072 33554432", "4096\t131072\t33554432\n"));
        assert!(same("0x10", "16") && same("bbr", "bbr\n") && same("", "\n"));
        assert!(!same("1", "1 2") && !same("bbr", "cubic") && !same("1", "2"));
        assert_eq!(shown("4096\t87380\t1\n"), "4096 87380 1");
        assert_eq!(shown("|/bin/x  %p\n"), "|/bin/x  %p");
    }

    #[test]
    fn a_direction_never_makes_a_better_field_worse() {
        let least = Goal::AtLeast(vec![4096, 87380, 67_108_864]);
        assert_eq!(to(&least, "4096\t131072\t33554432\n").as_deref(), Some("4096 131072 67108864"));
        assert_eq!(to(&least, "8192 131072 67108864"), None);
        assert_eq!(to(&Goal::AtMost(vec![1]), "2").as_deref(), Some("1"));
        assert_eq!(to(&Goal::AtMost(vec![1]), "0"), None);
        let huge = Goal::AtLeast(vec![5, 5]);
        assert_eq!(to(&huge, "18446744073692774399 1").as_deref(), Some("18446744073692774399 5"));
    }

    #[test]
    fn the_fields_must_match() {
        for goal in [Goal::Set("4096".into()), Goal::AtLeast(vec![4096]), Goal::AtMost(vec![1, 2, 3, 4])] {
            assert!(target(&goal, Some("4096 131072 33554432")).is_err(), "{goal:?}");
        }
        assert!(target(&Goal::AtLeast(vec![1]), Some("bbr")).is_err());
        assert!(target(&Goal::AtLeast(vec![1]), Some("")).is_err());
        assert!(target(&Goal::AtLeast(vec![1]), None).is_err());
        assert_eq!(target(&Goal::Set("1".into()), None), Ok(Some("1".into())));
        assert_eq!(target(&Goal::Set("|/bin/x %p".into()), Some("core")), Ok(Some("|/bin/x %p".into())));
    }
}
