//! A kernel that is not the running one, as its build leaves it: its configuration, its BTF, its release.
//!
//! Nothing here looks at the machine.

use std::{fs::File, io::Read, path::Path};

use crate::{
    error::{Cause, Fault},
    facts::KernelVersion,
    inflate::gunzip,
    requires,
};

/// The largest file that is read: BTF of a whole kernel has 6 MiB.
const FILE_MAX: u64 = 32 << 20;
/// How a gzip file begins.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How BTF begins, in this machine's byte order (BTF_MAGIC of include/uapi/linux/btf.h).
const BTF: [u8; 2] = 0xeb9f_u16.to_ne_bytes();

/// The kernel to judge for.
#[derive(Debug)]
pub struct Target {
    /// Its release, as far as it is known: `6.1.192`.
    pub release: String,
    /// The version in it.
    pub version: KernelVersion,
    /// Its BTF, where that was given.
    pub btf: Option<Vec<u8>>,
    config: String,
}

impl Target {
    /// Reads the files; without a release, the one at the head of the configuration counts.
    ///
    /// # Errors
    /// A [`Cause::Object`] fault: a file cannot be read, or is something else; the release is not known.
    pub fn read(config: &Path, btf: Option<&Path>, release: Option<&str>) -> Result<Self, Fault> {
        let mut bytes = read(config)?;
        if bytes.starts_with(GZIP) {
            bytes = gunzip(&bytes, FILE_MAX as usize).ok_or_else(|| wrong(config, "is damaged"))?;
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong(config, "is no text"))?;
        if !text.contains("CONFIG_") {
            return Err(wrong(config, "is no configuration of a kernel").mend("ls /boot/config-*"));
        }
        // "# Linux/x86 6.1.192 Kernel Configuration"
        let head = || text.lines().take(5).find_map(|line| line.strip_prefix("# Linux/")?.split(' ').nth(1));
        let release = release.or_else(head).unwrap_or_default().to_owned();
        let version = KernelVersion::parse(&release);
        if version.major == 0 {
            return Err(wrong(config, "does not tell the kernel's version").mend("--release 6.1"));
        }
        let btf = btf.map(|path| match read(path)? {
            bytes if bytes.starts_with(&BTF) => Ok(bytes),
            _ => Err(wrong(path, "is no BTF")
                .mend("copy /sys/kernel/btf/vmlinux of that kernel, or: pahole --btf_encode_detached FILE vmlinux")),
        });
        Ok(Self { release, version, btf: btf.transpose()?, config: text })
    }

    /// A kernel with this configuration, and no BTF.
    #[cfg(test)]
    pub fn of(config: &str, release: &str) -> Self {
        Self { release: release.into(), version: KernelVersion::parse(release), btf: None, config: config.into() }
    }

    /// What the configuration says of an option, without its `CONFIG_`; `None`: it is not set.
    pub fn option(&self, name: &str) -> Option<&str> {
        let said = |line: &str| Some(line.strip_prefix("CONFIG_")?.strip_prefix(name)?.strip_prefix('=')?.len());
        self.config.lines().find_map(|line| line.get(line.len() - said(line)?..))
    }

    /// The whole configuration.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Whether it is older than that.
    pub fn older_than(&self, since: KernelVersion) -> bool {
        self.version < since
    }

    /// What this kernel lacks of what `what` takes, by the table of [`requires`].
    ///
    /// # Errors
    /// A [`Cause::Kernel`] fault that says what, and the option that mends it.
    pub fn has(&self, list: &str, what: &str) -> Result<Has, Fault> {
        let Some(needs) = requires::of(list, what) else { return Ok(Has::Untold) };
        let mut has = Has::All;
        for need in needs.split_whitespace() {
            if need.starts_with(|c: char| c.is_ascii_digit()) {
                self.since(KernelVersion::parse(need), what)?;
                continue;
            }
            let mut said = need.split('|').filter_map(|option| Some((option, self.option(option)?)));
            match said.next() {
                None => return Err(unset(need)),
                Some((option, "m")) => has = Has::Module(option.to_owned()),
                Some(_) => {}
            }
        }
        Ok(has)
    }

    /// Whether it has what came with a version.
    ///
    /// # Errors
    /// A [`Cause::Kernel`] fault.
    pub fn since(&self, since: KernelVersion, what: impl std::fmt::Display) -> Result<(), Fault> {
        if !self.older_than(since) {
            return Ok(());
        }
        let KernelVersion { major, minor } = since;
        let what = format!("Linux {} has no {what}: {major}.{minor} has", self.release);
        Err(Fault::new(Cause::Kernel, what).mend("a newer kernel, or optional = true"))
    }
}

/// What a kernel has of what something takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Has {
    /// All of it.
    All,
    /// All of it, once a module is loaded: the option.
    Module(String),
    /// The table does not tell.
    Untold,
}

fn unset(option: &str) -> Fault {
    let option = format!("CONFIG_{}", option.replace('|', " or CONFIG_"));
    Fault::new(Cause::Kernel, format!("{option} is not set"))
        .mend(format!("a kernel with {option}=y, or optional = true"))
}

fn wrong(path: &Path, what: &str) -> Fault {
    Fault::new(Cause::Object, format!("{} {what}", path.display()))
}

/// Reads a file, or a pipe of a shell.
fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::io(Cause::Object, format!("read {}", path.display()), &error))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(wrong(path, "is too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn target(config: &str, release: Option<&str>) -> Result<Target, Fault> {
        let path = std::env::temp_dir().join(format!("bpfboot-target-{}", std::process::id()));
        std::fs::write(&path, config).unwrap();
        let read = Target::read(&path, None, release);
        std::fs::remove_file(path).unwrap();
        read
    }

    #[test]
    fn a_configuration_is_read() {
        let text = "#\n# Linux/x86 5.10.262 Kernel Configuration\n#\nCONFIG_HZ=250\n# CONFIG_BPF_LSM is not set\nCONFIG_TCP_CONG_BBR=m\nCONFIG_BPF_SYSCALL=y\n";
        let target = target(text, None).unwrap();
        assert_eq!((target.release.as_str(), target.version), ("5.10.262", KernelVersion { major: 5, minor: 10 }));
        assert_eq!((target.option("HZ"), target.option("BPF_LSM"), target.option("H")), (Some("250"), None, None));
        assert_eq!(target.has("mount", "bpf"), Ok(Has::All));
        assert_eq!(target.has("congestion", "bbr"), Ok(Has::Module("TCP_CONG_BBR".into())));
        assert_eq!(target.has("mount", "no such"), Ok(Has::Untold));
        assert!(target.has("program", "lsm").unwrap_err().to_string().contains("CONFIG_BPF_LSM is not set"));
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(target("CONFIG_X=y\n", None).unwrap_err().mend.contains("--release"));
        assert_eq!(target("CONFIG_X=y\n", Some("6.12")).unwrap().version, KernelVersion { major: 6, minor: 12 });
        assert!(target("hello\n", None).is_err());
        assert!(target("\u{1f}", None).is_err());
    }
}
