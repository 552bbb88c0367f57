//! The last report, kept in /run for whoever asks later. A reader sees the old document or the new one, never half of
//! one. That the document cannot be kept is worth a note and never a worse health.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where the report is kept.
pub const PATH: &str = "/run/bpfboot/report.json";

/// Where the document went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kept {
    /// Into this file.
    At(PathBuf),
    /// Nowhere, and why.
    Lost(String),
    /// Nowhere, as this verb has it.
    Unwanted,
}

/// Replaces the document at `path`, making its directory where that is missing.
pub fn store(path: &Path, document: &str) -> Kept {
    store_open(path, document).0
}

/// The same, with the file still open: whoever may not replace it any more can write another document into it.
pub fn store_open(path: &Path, document: &str) -> (Kept, Option<File>) {
    match replace(path, document) {
        Ok(file) => (Kept::At(path.to_owned()), Some(file)),
        Err(error) => (Kept::Lost(format!("the report is not kept in {}: {error}", path.display())), None),
    }
}

/// Keeps the verifier's log of `program OBJECT/NAME` beside the report, and tells where.
pub fn store_log(id: &str, log: &str) -> Option<PathBuf> {
    // The loader says what the program is called, and must not say where.
    let (object, program) = id.strip_prefix("program ")?.split_once('/').filter(|(_, name)| !name.contains('/'))?;
    let dir = Path::new(PATH).with_file_name("verifier");
    own_directory(dir.parent()?).ok()?;
    let path = dir.join(format!("{object}.{program}.log"));
    matches!(store(&path, log), Kept::At(_)).then_some(path)
}

/// Puts another document into the file.
///
/// # Errors
/// What write(2) says; the file is then not whole.
pub fn store_again(file: &mut File, document: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(document.as_bytes())
}

/// Replaces a file in one move, readable by all.
///
/// # Errors
/// Why not; the old one is then still there.
pub fn replace(path: &Path, document: &str) -> io::Result<File> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    own_directory(dir)?;
    let temp = dir.join(format!(".{}.new", name.display()));
    let kept = write_new(&temp, document).and_then(|file| fs::rename(&temp, path).map(|()| file));
    if kept.is_err() {
        let _ = fs::remove_file(&temp);
    }
    kept
}

/// Makes the directory, or accepts the one that is there; a symbolic link could lead us anywhere.
fn own_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755)),
        Err(_) if fs::symlink_metadata(dir)?.is_dir() => Ok(()),
        Err(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Writes a file that was not there before. `create_new` is `O_CREAT|O_EXCL`, which follows no symbolic link (open(2)).
fn write_new(temp: &Path, document: &str) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(temp);
    let mut file: File = match create() {
        // A run was killed here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temp)?;
            create()?
        }
        other => other?,
    };
    // The umask of a unit may be 0077, and whoever is on call need not be root to read this.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(document.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bpfboot-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn the_document_is_replaced_whole() {
        let top = scratch("whole");
        let path = top.join("bpfboot/report.json");
        for text in ["{\"a\": 1}\n", "{}\n"] {
            assert_eq!(store(&path, text), Kept::At(path.clone()));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(top.join("bpfboot")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(top.join("bpfboot")).unwrap().count(), 1, "no temporary file stays");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_symbolic_link_is_never_followed() {
        let top = scratch("link");
        fs::create_dir(top.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", top.join("dir")).unwrap();
        assert!(matches!(store(&top.join("dir/report.json"), "x"), Kept::Lost(_)));
        assert_eq!(fs::read_dir(top.join("elsewhere")).unwrap().count(), 0);
        // The report itself and the temporary file are links to a file that must not be touched.
        fs::write(top.join("precious"), "gold").unwrap();
        let temp = "own/.report.json.new";
        fs::create_dir(top.join("own")).unwrap();
        for link in ["own/report.json", temp] {
            std::os::unix::fs::symlink(top.join("precious"), top.join(link)).unwrap();
        }
        let path = top.join("own/report.json");
        assert_eq!(store(&path, "new"), Kept::At(path.clone()));
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(top.join("precious")).unwrap(), "gold");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_cannot_be_kept_is_a_note() {
        let top = scratch("note");
        fs::write(top.join("file"), "").unwrap();
        for path in ["file/report.json", "no/such/report.json"] {
            let Kept::Lost(note) = store(&top.join(path), "x") else { panic!("{path}") };
            assert!(note.contains(path) && note.contains("is not kept"), "{note}");
        }
        assert!(matches!(store(Path::new("/"), "x"), Kept::Lost(_)));
        fs::create_dir_all(top.join("bpfboot/report.json/full")).unwrap();
        assert!(matches!(store(&top.join("bpfboot/report.json"), "x"), Kept::Lost(_)));
        assert_eq!(fs::read_dir(top.join("bpfboot")).unwrap().count(), 1, "no temporary file stays");
        fs::remove_dir_all(top).unwrap();
    }
}
