//! `extern … __kconfig`: constants that the loader fills in from the running kernel. aya knows no such thing, so what
//! is undefined in the file becomes a read-only section of it, which the configuration's `globals` can set as well.

use std::{borrow::Cow, cell::OnceCell, mem::offset_of};

use object::{
    Endianness,
    elf::{self, FileHeader64, SectionHeader64, Sym64},
    read::elf::{FileHeader, Sym},
};

use super::{
    btf::{Types, add_name},
    elf::{damaged, header},
    entries::sized,
    rewrite::{File, section_range},
};
use crate::{
    config::Data,
    error::{Cause, Fault},
    kernel_config,
    sys::file,
    target::Target,
};

/// The section that the constants move to.
const SECTION: &str = ".rodata.kconfig";
/// Most constants of one object.
const CONSTANTS_MAX: usize = 1024;
/// The widest constant: a text of the kernel's configuration.
const WIDE_MAX: u32 = 4096;

/// Defines the constants of an object that has some, as the running kernel or `target` has them; `given` says which of
/// them the configuration sets.
///
/// # Errors
/// A [`Cause::Object`] fault: the file is damaged. [`Cause::Kernel`]: a constant is unknown and must be known.
pub fn define(bytes: Vec<u8>, given: &dyn Fn(&str) -> bool, target: Option<&Target>) -> Result<Vec<u8>, Fault> {
    match definitions(&bytes, given, target)? {
        Some(new) => Ok(new),
        None => Ok(bytes),
    }
}

fn definitions(bytes: &[u8], given: &dyn Fn(&str) -> bool, target: Option<&Target>) -> Result<Option<Vec<u8>>, Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    let externs: Vec<(usize, Cow<'_, str>, bool)> = symbols
        .enumerate()
        .filter(|(_, symbol)| symbol.is_undefined(endian))
        .map(|(index, symbol)| {
            let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
            (index.0, String::from_utf8_lossy(name), symbol.st_bind() == elf::STB_WEAK)
        })
        .filter(|(_, name, _)| name.starts_with("CONFIG_") || name.starts_with("LINUX_"))
        .collect();
    let Some((_, btf)) = sections.section_by_name(endian, b".BTF").filter(|_| !externs.is_empty()) else {
        return Ok(None);
    };
    let (btf_at, btf_size) = section_range(btf, endian);
    let Some(types) = Types::read(bytes.get(btf_at..btf_at + btf_size).unwrap_or_default()) else { return Ok(None) };
    let Some((group, constants)) = types.section(".kconfig") else { return Ok(None) };

    if constants.len() > CONSTANTS_MAX {
        return Err(damaged(format_args!("it asks for more than {CONSTANTS_MAX} of the kernel's constants")));
    }

    let kernel = Kernel::of(target);
    let mut file = File { bytes: Cow::Borrowed(bytes) };
    let (symbols_at, _) = section_range(sections.section(symbols.section()).map_err(damaged)?, endian);
    let table = header.e_shoff.get(endian) as usize;
    let count = header.e_shnum.get(endian);
    let mut values = Vec::new();
    for constant in &constants {
        let wide = types.word(constant.at + 8).unwrap_or(0);
        if wide > WIDE_MAX {
            return Err(damaged(format_args!("{} claims {wide} bytes; {WIDE_MAX} is the most", constant.name)));
        }
        let place = values.len();
        // A constant that no instruction reads has no symbol.
        if let Some((index, name, weak)) = externs.iter().find(|(_, name, _)| *name == constant.name) {
            values.extend(match kernel.value(name, wide as usize) {
                Some(value) => value.map_err(|what| Fault::new(Cause::Kernel, format!("{name}: {what}")))?,
                None if *weak || given(name) => Vec::new(),
                None if target.is_some() => return Err(unset(name)),
                None => return Err(unknown(name)),
            });
            let symbol = symbols_at + index * size_of::<Sym64<Endianness>>();
            let bind = if *weak { elf::STB_WEAK } else { elf::STB_GLOBAL };
            file.put(symbol + offset_of!(Sym64<Endianness>, st_info), &[(bind.0 << 4) | elf::STT_OBJECT.0])?;
            file.put(symbol + offset_of!(Sym64<Endianness>, st_shndx), &count.to_ne_bytes())?;
            file.put(symbol + offset_of!(Sym64<Endianness>, st_value), &(place as u64).to_ne_bytes())?;
            file.put(symbol + offset_of!(Sym64<Endianness>, st_size), &u64::from(wide).to_ne_bytes())?;
        }
        values.resize((place + wide as usize).next_multiple_of(8), 0);
        // The kernel takes no extern variable: they become global ones, at their places.
        file.put(btf_at + constant.var + 12, &1u32.to_ne_bytes())?;
        file.put(btf_at + constant.at + 4, &(place as u32).to_ne_bytes())?;
    }
    file.put(btf_at + group + 8, &(values.len() as u32).to_ne_bytes())?;

    let names_index = header.shstrndx(endian, bytes).map_err(damaged)? as usize;
    let (from, size) = section_range(sections.section(object::SectionIndex(names_index)).map_err(damaged)?, endian);
    let mut names = bytes.get(from..from + size).unwrap_or_default().to_vec();
    let name = add_name(&mut names, SECTION);
    let entry = size_of::<SectionHeader64<Endianness>>();
    file.replace(table + names_index * entry, &names)?;
    file.add_section(table, usize::from(count), name, &values)?;
    Ok(Some(file.bytes.into_owned()))
}

fn unset(name: &str) -> Fault {
    Fault::new(Cause::Kernel, format!("it asks for {name}, which that kernel's configuration does not set"))
        .mend(format!("globals.{name} = VALUE"))
}

fn unknown(name: &str) -> Fault {
    Fault::new(
        Cause::Kernel,
        format!(
            "it asks for {name} of this kernel's configuration, and neither /proc/config.gz nor /boot/config-{} tells",
            release()
        ),
    )
    .mend(format!("globals.{name} = VALUE (see zcat /proc/config.gz | grep {name})"))
}

impl File<'_> {
    /// Adds a section of constants, and moves the section table behind it.
    fn add_section(&mut self, table: usize, count: usize, name: u32, contents: &[u8]) -> Result<(), Fault> {
        let entry = size_of::<SectionHeader64<Endianness>>();
        let mut headers = self
            .bytes
            .get(table..table + count * entry)
            .ok_or_else(|| damaged("the section table is cut off"))?
            .to_vec();
        headers.resize(headers.len() + entry, 0);
        let bytes = self.bytes.to_mut();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let moved = bytes.len();
        bytes.extend_from_slice(&headers);
        let new = moved + count * entry;
        self.put(new, &name.to_ne_bytes())?;
        self.put(new + offset_of!(SectionHeader64<Endianness>, sh_type), &elf::SHT_PROGBITS.0.to_ne_bytes())?;
        self.put(new + offset_of!(SectionHeader64<Endianness>, sh_flags), &elf::SHF_ALLOC.0.to_ne_bytes())?;
        self.replace(new, contents)?;
        self.put(offset_of!(FileHeader64<Endianness>, e_shoff), &(moved as u64).to_ne_bytes())?;
        self.put(offset_of!(FileHeader64<Endianness>, e_shnum), &(count as u16 + 1).to_ne_bytes())
    }
}

fn release() -> String {
    file::text("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// What the running kernel says of itself, each file read at most once.
#[derive(Default)]
struct Kernel {
    release: OnceCell<String>,
    config: OnceCell<Option<String>>,
}

impl Kernel {
    /// The running one, or what is known of another.
    fn of(target: Option<&Target>) -> Self {
        let kernel = Self::default();
        if let Some(target) = target {
            let _ = kernel.release.set(target.release.clone());
            let _ = kernel.config.set(Some(target.config().to_owned()));
        }
        kernel
    }

    /// A constant's value, as wide as its place.
    fn value(&self, name: &str, size: usize) -> Option<Result<Vec<u8>, String>> {
        let release = self.release.get_or_init(release);
        let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let mut next = || numbers.next().unwrap_or(0);
        let version = (next(), next(), next());
        let number = match name {
            "LINUX_KERNEL_VERSION" => (version.0 << 16) | (version.1 << 8) | version.2.min(255),
            // BPF cookies came with 5.15, wrappers around system calls with 4.17 (arm64: 4.19, riscv: 6.6).
            "LINUX_HAS_BPF_COOKIE" => u32::from(version >= (5, 15, 0)),
            "LINUX_HAS_SYSCALL_WRAPPER" => u32::from(match std::env::consts::ARCH {
                "x86_64" | "s390x" => version >= (4, 17, 0),
                "aarch64" => version >= (4, 19, 0),
                "riscv64" => version >= (6, 6, 0),
                _ => false,
            }),
            _ => {
                let config = self.config.get_or_init(|| kernel_config::read(release).map(|(_, text)| text));
                return setting(config.as_deref()?, name, size);
            }
        };
        Some(sized(&Data::Int(number.into()), size))
    }
}

/// What a kernel's configuration says: y and m as libbpf counts them, a number, or text, which is cut to fit.
fn setting(config: &str, name: &str, size: usize) -> Option<Result<Vec<u8>, String>> {
    let said = kernel_config::value(config, name)?;
    let number = match said {
        "y" => 1,
        "m" => 2,
        _ => match (said.strip_prefix('"'), said.strip_prefix("0x")) {
            (Some(text), _) => return Some(Ok(text.trim_end_matches('"').bytes().take(size).collect())),
            (None, Some(hex)) => i64::from_str_radix(hex, 16).ok()?,
            (None, None) => said.parse().ok()?,
        },
    };
    Some(sized(&Data::Int(number), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_configuration_is_read() {
        let config = "# CONFIG_X is not set\nCONFIG_HZ=1000\nCONFIG_HZ_1000=y\nCONFIG_NET_SCH=m\nCONFIG_NAME=\"abc\"\nCONFIG_AT=0x10\n";
        let said = |name, size| setting(config, name, size);
        assert_eq!(said("CONFIG_HZ", 4), Some(Ok(1000u32.to_ne_bytes().to_vec())));
        assert_eq!(said("CONFIG_HZ_1000", 1), Some(Ok(vec![1])));
        assert_eq!(said("CONFIG_NET_SCH", 1), Some(Ok(vec![2])));
        assert_eq!(said("CONFIG_NAME", 2), Some(Ok(b"ab".to_vec())));
        assert_eq!(said("CONFIG_AT", 1), Some(Ok(vec![16])));
        assert!(said("CONFIG_HZ", 1).is_some_and(|value| value.is_err()));
        assert_eq!(said("CONFIG_X", 1), None);
    }

    #[test]
    fn the_version_is_this_kernels() {
        let major = |value: Vec<u8>| u32::from_ne_bytes(value.try_into().unwrap_or_default()) >> 16;
        assert!(
            Kernel::default()
                .value("LINUX_KERNEL_VERSION", 4)
                .is_some_and(|value| value.is_ok_and(|value| major(value) >= 4))
        );
    }
}
