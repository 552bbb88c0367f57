//! Places in programs of user space: the kernel wants a file and an offset, people name a function.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use object::{
    Endianness, SectionIndex,
    elf::{self, FileHeader64},
    read::elf::{FileHeader, Sym},
};

use super::outside::Outside;
use crate::{
    config::UserFunction,
    error::{Cause, Fault},
};

/// The file, and the offset from its start.
///
/// # Errors
/// A [`Cause::Attach`] fault: no such file, no such function in it.
pub fn place(at: &UserFunction, outside: &Outside) -> Result<(CString, u64), Fault> {
    let shown = at.path.display();
    let start = if at.symbol.is_empty() {
        0
    } else {
        let mend = match at.path.is_absolute() {
            true => format!("ls -l {shown}"),
            false => format!(
                "give its whole path, attach = {{ uprobe = \"/…/{shown}:{}\" }}: ldconfig -p | grep {shown}",
                at.symbol
            ),
        };
        let bytes =
            outside.read(&at.path).map_err(|e| Fault::io(Cause::Attach, format!("read {shown}"), &e).mend(mend))?;
        function_offset(&bytes, &at.symbol).ok_or_else(|| {
            Fault::new(Cause::Attach, format!("{shown} has no function {}", at.symbol))
                .mend(format!("nm -D {shown} shows its functions; or optional = true"))
        })?
    };
    let path = CString::new(at.path.as_os_str().as_bytes())
        .map_err(|_| Fault::new(Cause::Attach, format!("{shown} holds a NUL")))?;
    Ok((path, start + at.offset))
}

/// Where a function begins in its file: its address, less the address of its section, plus the section's offset.
fn function_offset(bytes: &[u8], name: &str) -> Option<u64> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    for table in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let Ok(symbols) = sections.symbols(endian, bytes, table) else { continue };
        for symbol in symbols.iter() {
            let index = SectionIndex(usize::from(symbol.st_shndx(endian).0));
            let named = symbol.name(endian, symbols.strings()).is_ok_and(|found| found == name.as_bytes());
            if named && symbol.st_type() == elf::STT_FUNC && index.0 != 0 {
                let section = sections.section(index).ok()?;
                let below = symbol.st_value(endian).checked_sub(section.sh_addr.get(endian))?;
                return section.sh_offset.get(endian).checked_add(below);
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_function_of_the_c_library_is_found_where_nm_finds_it() {
        let path = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"]
            .into_iter()
            .find(|path| fs::exists(path).unwrap())
            .unwrap();
        let bytes = fs::read(path).unwrap();
        let offset = usize::try_from(function_offset(&bytes, "getpid").unwrap()).unwrap();
        assert!(bytes.get(offset..offset + 16).unwrap().iter().any(|byte| *byte != 0));
        assert_eq!(function_offset(&bytes, "no_such_function"), None);
    }
}
