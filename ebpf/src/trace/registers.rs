//! What a program left in its registers when it entered the kernel: `struct pt_regs`, whose start is the same on every
//! kernel (arch/x86/include/uapi/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h).

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::ffi::c_void;
use core::mem::MaybeUninit;

#[cfg(bpf_target_arch = "x86_64")]
mod machine {
    /// From r10 to cs, and what of it a system call's first four arguments are.
    pub const CALL: (usize, usize) = (56, 11);
    pub const ARGUMENTS: [usize; 4] = [7, 6, 5, 0];
    /// From cs to sp.
    pub const STACK: (usize, usize) = (136, 3);
    pub const STACK_POINTER: usize = 2;
    /// Segment of 32-bit code (__USER32_CS).
    const CODE_32: u16 = 0x23;

    /// Whether it is a 64-bit program.
    pub fn is_64(words: &[u64], call: bool) -> bool {
        words[if call { 10 } else { 0 }] as u16 != CODE_32
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod machine {
    /// From x0 to pstate.
    pub const CALL: (usize, usize) = (0, 34);
    pub const ARGUMENTS: [usize; 4] = [0, 1, 2, 3];
    /// From sp to pstate.
    pub const STACK: (usize, usize) = (248, 3);
    pub const STACK_POINTER: usize = 0;
    /// A bit of pstate (PSR_MODE32_BIT).
    const CODE_32: u64 = 0x10;

    /// Whether it is a 64-bit program.
    pub fn is_64(words: &[u64], call: bool) -> bool {
        words[if call { 33 } else { 2 }] & CODE_32 == 0
    }
}

/// The first four arguments of the system call that a 64-bit program makes.
#[inline(always)]
pub fn arguments(registers: *const c_void) -> Option<[u64; 4]> {
    let words = read::<{ machine::CALL.1 }>(registers, machine::CALL.0)?;
    machine::is_64(&words, true).then(|| machine::ARGUMENTS.map(|at| words[at]))
}

/// The stack pointer of a 64-bit program.
#[inline(always)]
pub fn stack(registers: *const c_void) -> Option<u64> {
    let words = read::<{ machine::STACK.1 }>(registers, machine::STACK.0)?;
    machine::is_64(&words, false).then(|| words[machine::STACK_POINTER])
}

#[inline(always)]
fn read<const WORDS: usize>(registers: *const c_void, offset: usize) -> Option<[u64; WORDS]> {
    let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
    // SAFETY: the helper checks what it reads, and writes all words: what it read, or zeroes.
    unsafe {
        let size = size_of_val(&words) as u32;
        let failed = bpf_probe_read_kernel(words.as_mut_ptr().cast(), size, registers.byte_add(offset));
        (failed == 0).then_some(words.assume_init())
    }
}
