//! What this boot asks of bpfboot: words on the kernel's command line, and a credential of systemd. Looked at only under
//! `--boot`, which units pass: at a shell the person is obeyed, and not the boot loader.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{facts, sys};

/// The name of the credential (systemd.exec(5), `LoadCredential=`).
const CREDENTIAL: &str = "bpfboot.config";

/// What was asked for.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// `bpfboot=off`: change nothing, and be healthy.
    pub off: bool,
    /// The one file of configuration, in place of the drop-in directories.
    pub config: Option<PathBuf>,
}

/// Looks. The command line goes before the credential: whoever edits it stands before the machine, and may have to mend
/// what came with the image.
pub fn asked() -> Asked {
    // A container sees the machine's command line, which is not meant for it. Its own are the words of its PID 1, as
    // they are for systemd.
    let place = if facts::initial_pidns() { "/proc/cmdline" } else { "/proc/1/cmdline" };
    let mut asked = parse(&fs::read(place).unwrap_or_default());
    asked.config = asked.config.or_else(credential);
    asked
}

/// Of a word that is there twice, the last one counts: boot loaders append what is typed.
fn parse(cmdline: &[u8]) -> Asked {
    let mut asked = Asked::default();
    for word in String::from_utf8_lossy(cmdline).split(|c: char| c.is_ascii_whitespace() || c == '\0') {
        match word.split_once('=') {
            Some(("bpfboot", value)) => asked.off = value == "off",
            Some(("bpfboot.config", path)) => asked.config = (!path.is_empty()).then(|| path.into()),
            _ => {}
        }
    }
    asked
}

/// The credential, where this service was given one. What cannot be looked at is there, and so is all of a directory that
/// systemd names and hides: reading it will say why. Another configuration in its place would retire what is loaded.
fn credential() -> Option<PathBuf> {
    let dir = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?);
    let (path, absent) = (dir.join(CREDENTIAL), |path: &Path| matches!(sys::file::exists(path), Ok(false)));
    (absent(&dir) || !absent(&path)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        for (cmdline, off, config) in [
            ("", false, None),
            ("quiet bpfboot=off ro\n", true, None),
            ("bpfboot=off bpfboot=on", false, None),
            ("bpfboot=offer xbpfboot=off bpfboot.off bpfboot", false, None),
            ("bpfboot.config=/a.toml bpfboot.config=/b.toml", false, Some("/b.toml")),
            ("bpfboot.config=/a=b bpfboot.config", false, Some("/a=b")),
            ("bpfboot.config=/a.toml bpfboot.config=", false, None),
            ("/sbin/init\0bpfboot.config=/c.toml\0bpfboot=off\0", true, Some("/c.toml")),
        ] {
            let expected = Asked { off, config: config.map(PathBuf::from) };
            assert_eq!(parse(cmdline.as_bytes()), expected, "{cmdline:?}");
        }
        assert!(parse(b"\xff bpfboot=off").off);
    }
}
