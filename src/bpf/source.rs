//! Where an object's bytes come from: embedded in this binary, or a file that is opened once, hashed and loaded from
//! the same bytes.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::values::Slots;
use crate::{
    config::ObjectSource,
    error::{Cause, Fault},
    reason::Reason,
    sys::process,
    trust::{self, Refusal},
};

/// No BPF object is larger, nor is a kernel's BTF: the kernel's own selftests stay below 6 MiB.
const FILE_MAX: u64 = 16 << 20;

/// An embedded object, as build.rs packs it.
struct Builtin {
    name: &'static str,
    packed: &'static [u8],
    sha256: &'static [u8; 32],
}

macro_rules! builtin {
    ($name:literal) => {
        Builtin {
            name: $name,
            packed: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".lz4")),
            sha256: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".sha256")),
        }
    };
}

static BUILTIN: [Builtin; 3] = [builtin!("edge"), builtin!("reads"), builtin!("trace")];

/// The names behind `builtin:`.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|builtin| builtin.name)
}

/// What a builtin object's program arrays are to begin with. Rust cannot declare that in the object: BTF wants an array
/// without a length there, and a static has one.
pub fn declare(source: &ObjectSource, slots: &mut Slots) {
    if is_builtin(source, "edge") {
        let handlers = (0..).zip(["http", "dns", "tls", "log_event"].map(str::to_owned));
        slots.insert("dispatch".to_owned(), handlers.collect());
    }
}

/// The alternatives of a builtin object that is taken whole. Before 5.15 the link of a tracepoint or kprobe ends with the
/// process that made it.
pub fn alternatives(source: &ObjectSource) -> Vec<(String, String)> {
    const TRACE: [(&str, &str); 5] = [
        ("trace_openat", "sys_enter_raw"),
        ("trace_openat2", "sys_enter_raw"),
        ("note_exit", "sys_enter_raw"),
        ("note_exit_group", "sys_enter_raw"),
        ("trace_exec", "exec_raw"),
    ];
    let pairs: &[_] = match () {
        () if is_builtin(source, "trace") => &TRACE,
        () if is_builtin(source, "reads") => &[("read_fentry", "read_kprobe")],
        () => &[],
    };
    pairs.iter().map(|(name, next)| ((*name).to_owned(), (*next).to_owned())).collect()
}

fn is_builtin(source: &ObjectSource, wanted: &str) -> bool {
    matches!(source, ObjectSource::Builtin(name) if name == wanted)
}

/// An object's bytes and their hash.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// The ELF file.
    pub elf: Vec<u8>,
    /// SHA-256 over it.
    pub sha256: [u8; 32],
}

/// A file that root vouches for, opened once.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// Where it was found.
    pub path: PathBuf,
    /// The file.
    pub file: Arc<File>,
}

/// Reads an object.
///
/// # Errors
/// A [`Cause::Object`] fault: absent, not a regular file, too large, empty.
pub fn read(source: &ObjectSource, allow_untrusted: bool) -> Result<Bytes, Fault> {
    match source {
        ObjectSource::Builtin(name) => builtin(name),
        ObjectSource::File(path) => {
            let elf = read_file(path, allow_untrusted)?;
            Ok(Bytes { sha256: Sha256::digest(&elf).into(), elf })
        }
    }
}

impl Bytes {
    /// Whether these are the bytes that the configuration pinned.
    ///
    /// # Errors
    /// A [`Cause::Object`] fault with both hashes.
    pub fn are(&self, wanted: Option<&[u8; 32]>) -> Result<(), Fault> {
        match wanted {
            Some(wanted) if *wanted != self.sha256 => Err(Fault::new(
                Cause::Object,
                format!("its SHA-256 is {}, the configuration wants {}", hex(&self.sha256), hex(wanted)),
            )
            .mend("install the object that was meant, or correct sha256 = \"…\" in the configuration")),
            _ => Ok(()),
        }
    }
}

fn builtin(name: &str) -> Result<Bytes, Fault> {
    let Some(Builtin { packed, sha256, .. }) = BUILTIN.iter().find(|builtin| builtin.name == name) else {
        let names: Vec<_> = builtin_names().collect();
        return Err(Fault::new(Cause::Object, format!("there is no builtin object {name:?}"))
            .mend(format!("builtin objects are: {}", names.join(", "))));
    };
    let elf = lz4_flex::block::decompress_size_prepended(packed)
        .map_err(|error| Fault::new(Cause::Object, format!("the builtin object {name:?} is damaged: {error}")))?;
    Ok(Bytes { elf, sha256: **sha256 })
}

fn read_file(path: &Path, allow_untrusted: bool) -> Result<Vec<u8>, Fault> {
    let shown = path.display();
    let refuse = |what: &str| Fault::new(Cause::Object, format!("{shown} {what}"));
    let file = open(path, allow_untrusted)?;
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |meta| meta.len() as usize + 1));
    (&file)
        .take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Fault::io(Cause::Object, format!("read {shown}"), &e))?;
    match bytes.len() as u64 {
        0 => Err(refuse("is empty")),
        length if length > FILE_MAX => Err(refuse("grew while it was read")),
        _ => Ok(bytes),
    }
}

/// Opens the BTF that an object is loaded against.
///
/// # Errors
/// As [`read`].
pub fn open_btf(path: &Path, allow_untrusted: bool) -> Result<Vouched, Fault> {
    Ok(Vouched { path: path.to_owned(), file: Arc::new(open(path, allow_untrusted)?) })
}

/// Opens a file that decides what goes into the kernel: regular, of a sane size, and nobody's to change but root's.
fn open(path: &Path, allow_untrusted: bool) -> Result<File, Fault> {
    let shown = path.display();
    let refuse = |what: &str| Fault::new(Cause::Object, format!("{shown} {what}"));
    let file = trust::open(path, allow_untrusted).map_err(|refusal| match refusal {
        Refusal::Io(e) => Fault::io(Cause::Object, format!("open {shown}"), &e).mend(format!("ls -l {shown}")),
        Refusal::Link(what, mend) => refuse(&what).by(Reason::Trust).mend(mend),
    })?;
    let meta = file.metadata().map_err(|e| Fault::io(Cause::Object, format!("look at {shown}"), &e))?;
    if !meta.is_file() {
        return Err(refuse("is not a regular file"));
    }
    if !allow_untrusted && (meta.mode() & 0o022 != 0 || !(meta.uid() == 0 || meta.uid() == process::effective_uid())) {
        return Err(refuse("can be changed by users other than root, so it is not loaded into the kernel")
            .mend(format!("chown root {shown} && chmod go-w {shown}, or --allow-untrusted")));
    }
    if meta.len() > FILE_MAX {
        return Err(refuse(&format!("is {} bytes large; {FILE_MAX} is the most", meta.len())));
    }
    Ok(file)
}

/// Bytes as people compare them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
