//! Harmless questions: calls that cannot succeed and change nothing, whose errno tells how far they got. A seccomp filter
//! answers before the kernel looks at any argument behind a pointer.

use std::io;

use aya_obj::generated::{bpf_cmd, bpf_insn, bpf_prog_type};

use super::load::{NewProgram, load_program};

/// BPF_MAP_CREATE.
pub const MAP_CREATE: &[Question] = &[Question::Bpf(bpf_cmd::BPF_MAP_CREATE)];
/// BPF_PROG_LOAD.
pub const PROG_LOAD: &[Question] = &[Question::Bpf(bpf_cmd::BPF_PROG_LOAD)];
/// BPF_OBJ_PIN.
pub const OBJ_PIN: &[Question] = &[Question::Bpf(bpf_cmd::BPF_OBJ_PIN)];
/// Whatever attaches.
pub const ATTACH: &[Question] =
    &[Question::Bpf(bpf_cmd::BPF_LINK_CREATE), Question::Bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN), Question::PerfEvent];
/// Mount(2).
pub const MOUNT: &[Question] = &[Question::Mount];

/// A system call that may be filtered.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// A command of bpf(2).
    Bpf(bpf_cmd),
    /// Perf_event_open(2).
    PerfEvent,
    /// Mount(2).
    Mount,
}

impl Question {
    /// Its name, as people know it.
    pub fn name(self) -> String {
        match self {
            Self::Bpf(command) => format!("bpf({command:?})"),
            Self::PerfEvent => "perf_event_open(2)".into(),
            Self::Mount => "mount(2)".into(),
        }
    }

    /// The errno with which the call comes back, and whether it came from the kernel's own code.
    ///
    /// More bytes than a page are E2BIG before anything is read (bpf_check_uarg_tail_zero() in kernel/bpf/syscall.c),
    /// unknown flags EINVAL (perf_event_open() in kernel/events/core.c), a type at address 1 EFAULT (ksys_mount()).
    #[allow(unsafe_code, reason = "no wrapper makes a call that must fail")]
    pub fn ask(self) -> (i32, bool) {
        const TOO_MANY: usize = 1 << 20;
        // SAFETY: none of the calls gets as far as following a pointer that is not ours, and each of them fails.
        let (ret, expected) = unsafe {
            match self {
                Self::Bpf(command) => (
                    libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::null::<u8>(), TOO_MANY),
                    libc::E2BIG,
                ),
                Self::PerfEvent => {
                    let nothing = std::ptr::null::<u8>();
                    (libc::syscall(libc::SYS_perf_event_open, nothing, 0, -1, -1, libc::c_ulong::MAX), libc::EINVAL)
                }
                Self::Mount => {
                    let (nothing, bad) = (std::ptr::null::<u8>(), 1_usize);
                    (libc::syscall(libc::SYS_mount, nothing, nothing, bad, 0, nothing), libc::EFAULT)
                }
            }
        };
        let errno = if ret < 0 { super::file::errno(&io::Error::last_os_error()) } else { 0 };
        (errno, errno == expected)
    }
}

/// Loads a program of two instructions that says 0, and lets it go.
///
/// # Errors
/// As [`load_program`]: what this process can load at all.
pub fn plain_program() -> io::Result<()> {
    let code = |code, imm| bpf_insn { code, imm, ..super::bpf::zeroed() };
    // BPF_MOV | BPF_K | BPF_ALU64 of r0, and BPF_EXIT | BPF_JMP (include/uapi/linux/bpf.h).
    let instructions = [code(0xb7, 0), code(0x95, 0)];
    let new = NewProgram {
        name: "plain",
        kind: bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER as u32,
        expected_attach_type: 0,
        flags: 0,
        instructions: &instructions,
        license: c"GPL",
        kernel_version: 0,
        attach_btf_id: 0,
        token: None,
        btf: None,
    };
    load_program(&new, &mut []).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_filter_the_kernel_itself_answers() {
        for question in [MAP_CREATE, PROG_LOAD, OBJ_PIN, ATTACH, MOUNT].concat() {
            let (errno, reached) = question.ask();
            assert!(reached, "{}: {errno}", question.name());
        }
    }
}
