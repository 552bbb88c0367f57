//! Whether there is a place to attach to, by the names in a kernel's BTF.

use aya_obj::btf::BtfKind;

use super::{Kernel, Miss};
use crate::{
    bpf::{
        job::{ProgramJob, target},
        kind::{Kind, syscall_symbol},
    },
    config::AttachWish,
    error::{Cause, Fault},
    facts::KernelVersion,
};

impl Kernel<'_> {
    /// Whether a loaded program can be attached there, and what the reader should know.
    pub(super) fn place(&self, program: &ProgramJob, wish: &AttachWish) -> Result<String, Miss> {
        let word = program.kind.word();
        self.target.has("attach", word)?;
        if program.kind.uses_perf_link() {
            self.target.since(KernelVersion { major: 5, minor: 15 }, format_args!("{word} link that can be pinned"))?;
        }
        match wish {
            AttachWish::Tracepoint { category, name } if category == "syscalls" => self.system_call(name, wish),
            AttachWish::Tracepoint { name, .. } | AttachWish::RawTracepoint(name) => {
                self.named(&format!("btf_trace_{name}"), BtfKind::Typedef, program, wish)
            }
            AttachWish::Kprobe { function, .. } | AttachWish::Kretprobe(function) => {
                match self.knows(function, BtfKind::Func)? {
                    true => Ok(String::new()),
                    false => Err(Miss::Untold(format!(
                        "that kernel's BTF names no function {function}; it does not name all: grep -w {function} System.map"
                    ))),
                }
            }
            AttachWish::Lsm(_) => Ok(match self.target.option("LSM") {
                Some(list) if !list.split(['"', ',']).any(|one| one == "bpf") => {
                    "never asked, unless lsm= of the kernel's command line names bpf: CONFIG_LSM does not".into()
                }
                _ => String::new(),
            }),
            AttachWish::Uprobe(at) | AttachWish::Uretprobe(at) => {
                Ok(format!("{} is not looked into", at.path.display()))
            }
            // Their names were looked up for the load.
            _ => Ok(String::new()),
        }
    }

    fn knows(&self, name: &str, kind: BtfKind) -> Result<bool, Miss> {
        Ok(self.btf()?.id_by_type_name_kind(name, kind).is_ok())
    }

    fn named(&self, name: &str, kind: BtfKind, program: &ProgramJob, wish: &AttachWish) -> Result<String, Miss> {
        if self.knows(name, kind)? {
            return Ok(String::new());
        }
        let (place, target) = (program.kind.place(), target(wish));
        Err(Fault::os(
            Cause::Attach,
            format!("that kernel has no {place} {target}, unless a module brings it"),
            libc::ENOENT,
        )
        .mend(format!("bpftool btf dump file FILE | grep -w {name}; give attach another place, or optional = true"))
        .into())
    }

    /// What the tracepoints of a system call trace has no type of its own; the function behind it has.
    fn system_call(&self, name: &str, wish: &AttachWish) -> Result<String, Miss> {
        self.target.has("attach", "syscalls")?;
        let call = name.strip_prefix("sys_enter_").or_else(|| name.strip_prefix("sys_exit_")).unwrap_or(name);
        if self.knows(&syscall_symbol(call), BtfKind::Func)? {
            return Ok(String::new());
        }
        let place = target(wish);
        // BTF of some compilers names no such function at all.
        match self.knows(&syscall_symbol("read"), BtfKind::Func)? {
            true => Err(Fault::os(
                Cause::Attach,
                format!("that kernel has no {} {place}", Kind::Tracepoint.place()),
                libc::ENOENT,
            )
            .mend("give attach another place, or optional = true")
            .into()),
            false => {
                Err(Miss::Untold(format!("that kernel's BTF names no system calls, so not whether there is {place}")))
            }
        }
    }
}
