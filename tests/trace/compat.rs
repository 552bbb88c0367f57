//! A 32-bit program counts its system calls otherwise, and has its words elsewhere: nothing of it is taken for what a
//! 64-bit program would mean.

use std::{
    mem::offset_of,
    process::{Command, Stdio},
};

use crate::{
    common::{
        events::{Exec, Exit, Kind},
        ok,
    },
    with_each,
};

/// Calls what would be openat and exit_group of a 64-bit program, and ends.
const SOURCE: &str = "static int call(int number, int b, int c, int d, const char *s, int to) {
    int result;
    __asm__ volatile(\"int $0x80\" : \"=a\"(result) : \"a\"(number), \"b\"(b), \"c\"(c), \"d\"(d), \"S\"(s), \"D\"(to)
                     : \"memory\");
    return result;
}
void _start(void) {
    call(257, 0, 0, 0, \"/run/mistaken\", -100);
    call(231, -1, 0, 0, 0, 77);
    call(252, 3, 0, 0, 0, 0);
}
";

#[test]
fn of_a_32_bit_program_nothing_is_mistaken() {
    with_each(|s, mut events| {
        let source = s.file("/run/compat.c", SOURCE);
        let flags = ["--target=i386-linux-gnu", "-nostdlib", "-static", "-ffreestanding", "-fuse-ld=lld", "-O1"];
        ok(Command::new("clang").args(flags).args(["-o", "/run/compat"]).arg(source));
        let mut child = Command::new("/run/compat").arg("word").stdin(Stdio::null()).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "this kernel runs 32-bit programs (CONFIG_IA32_EMULATION)");
        let pid = child.id();
        let exec = events.find("the exec", |record| record.by(pid) && record.is(Kind::Exec));
        assert_eq!([offset_of!(Exec, words), offset_of!(Exec, length)].map(|at| exec.u32(at)), [0, 0]);
        let exit = events.find("the exit", |record| record.by(pid) && record.is(Kind::Exit));
        assert_eq!(exit.u32(offset_of!(Exit, status)), Exit::UNKNOWN);
        assert!(!events.seen.iter().any(|record| record.opens("/run/mistaken")));
    });
}
