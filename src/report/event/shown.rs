//! How single values of an event are written.

use std::fmt;

/// Texts with their length before them, up to an empty one or the end of the bytes.
pub(super) struct Labels<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first().filter(|(length, _)| **length > 0)?;
        let (label, rest) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
        self.0 = rest;
        Some(label)
    }
}

/// A name as zone files write it: `\DDD` for what is no ordinary character of a label (RFC 1035, section 5.1). In JSON a
/// backslash is two.
pub(super) struct Name<'a>(pub(super) &'a [u8], pub(super) bool);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slash, mut empty) = (if self.1 { "\\\\" } else { "\\" }, true);
        for label in Labels(self.0) {
            empty = false;
            for byte in label {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/' => {
                        fmt::Write::write_char(f, char::from(*byte))?;
                    }
                    other => write!(f, "{slash}{other:03}")?,
                }
            }
            f.write_str(".")?;
        }
        if empty { f.write_str(".") } else { Ok(()) }
    }
}

/// The types of questions that people meet; others as RFC 3597 has them.
pub(super) struct Type(pub(super) u64);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            33 => "SRV",
            64 => "SVCB",
            65 => "HTTPS",
            255 => "ANY",
            other => return write!(f, "TYPE{other}"),
        })
    }
}

/// Flags of open(2) without their O_.
pub(super) struct OpenFlags(pub(super) i32);

impl fmt::Display for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(i32, &str); 8] = [
            (libc::O_CREAT, "|CREAT"),
            (libc::O_EXCL, "|EXCL"),
            (libc::O_TRUNC, "|TRUNC"),
            (libc::O_APPEND, "|APPEND"),
            (libc::O_DIRECTORY, "|DIRECTORY"),
            (libc::O_NOFOLLOW, "|NOFOLLOW"),
            (libc::O_CLOEXEC, "|CLOEXEC"),
            (libc::O_PATH, "|PATH"),
        ];
        f.write_str(match self.0 & libc::O_ACCMODE {
            libc::O_RDONLY => "RDONLY",
            libc::O_WRONLY => "WRONLY",
            libc::O_RDWR => "RDWR",
            _ => "ACCMODE",
        })?;
        let mut rest = self.0 & !libc::O_ACCMODE;
        for (flag, name) in NAMES {
            if rest & flag != 0 {
                rest &= !flag;
                f.write_str(name)?;
            }
        }
        if rest == 0 { Ok(()) } else { write!(f, "|{rest:#x}") }
    }
}
