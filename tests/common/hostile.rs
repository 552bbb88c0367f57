//! What somebody does who has taken over the loader child. Compiled into a test build of bpfboot only (`--cfg hostile`),
//! and run there after loading, by raw system calls. Each line on stderr: `hostile NAME: RESULT`, 0 or -errno.
#![allow(unsafe_code, missing_docs, clippy::pedantic, reason = "an attacker has no manners")]

use libc::{
    AF_ALG, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH,
    O_RDONLY, O_RDWR, O_WRONLY, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, c_long, syscall,
};

macro_rules! c {
    ($text:expr) => {
        concat!($text, "\0").as_ptr()
    };
}

fn tell(name: &str, result: c_long) {
    let errno = if result < 0 { -std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 };
    let line = format!("hostile {name}: {errno}\n");
    // SAFETY: the line outlives the call.
    unsafe { syscall(libc::SYS_write, 2, line.as_ptr(), line.len()) };
}

macro_rules! try_each {
    ($($name:literal => ($($arg:expr),*);)*) => { $(
        // SAFETY: every pointer is to text or to the structures below, which outlive the call.
        tell($name, unsafe { syscall($($arg),*) });
    )* };
}

pub fn run() {
    // SAFETY: takes nothing.
    let parent = unsafe { libc::getppid() };
    // getppid(2) is refused too: then it aims at everybody it may signal, as PID 1 is.
    let parent = if parent > 0 { parent } else { 1 };
    let attr = |words: &[u64]| {
        let mut attr = [0u64; 16];
        attr[..words.len()].copy_from_slice(words);
        attr
    };
    let size = 128usize;
    let foreign = attr(&[c!("/sys/fs/bpf/foreign") as u64, 0]);
    let live = attr(&[c!("/sys/fs/bpf/bpfboot/live/edge/maps/counters") as u64, 0]);
    let first_id = attr(&[1]);
    let mut caps = [0x2008_0522u32, 0];
    let all = [u32::MAX; 6];
    let byte = [1u8; 8];
    let vec = libc::iovec { iov_base: byte.as_ptr() as *mut _, iov_len: 1 };
    let mut perf = [0u64; 16];
    perf[0] = 1 | 128 << 32;
    let mut pinned = -1;
    for fd in 3..64u64 {
        let outside = attr(&[c!("/sys/fs/bpf/outside") as u64, fd]);
        let result = unsafe { syscall(libc::SYS_bpf, 6, &raw const outside, size) };
        let errno = std::io::Error::last_os_error().raw_os_error();
        // Descriptors of files that are not BPF's are EINVAL, and holes are EBADF.
        if result == 0 || !matches!(errno, Some(libc::EINVAL | libc::EBADF)) {
            pinned = result;
            break;
        }
    }
    tell("pin outside the stage", pinned);
    let inside = (3..64u64).any(|fd| {
        let inside = attr(&[c!("/sys/fs/bpf/bpfboot/stage/mine") as u64, fd]);
        unsafe { syscall(libc::SYS_bpf, 6, &raw const inside, size) == 0 }
    });
    tell("allowed pin in the stage", if inside { 0 } else { -1 });
    try_each! {
        "allowed unpin in the stage" => (libc::SYS_unlinkat, AT_FDCWD, c!("/sys/fs/bpf/bpfboot/stage/mine"), 0);
        "allowed netlink" => (libc::SYS_socket, AF_NETLINK, SOCK_RAW, 0);
        "open passwd" => (libc::SYS_openat, AT_FDCWD, c!("/etc/passwd"), O_RDONLY);
        "open passwd by path" => (libc::SYS_openat, AT_FDCWD, c!("/etc/passwd"), O_PATH);
        "open /etc" => (libc::SYS_openat, AT_FDCWD, c!("/etc"), O_RDONLY | O_DIRECTORY);
        "open live" => (libc::SYS_openat, AT_FDCWD, c!("/sys/fs/bpf/bpfboot/live"), O_RDONLY | O_DIRECTORY);
        "openat2" => (libc::SYS_openat2, AT_FDCWD, c!("/etc/passwd"), &raw const first_id, 24);
        "open_by_handle_at" => (libc::SYS_open_by_handle_at, AT_FDCWD, &raw const first_id, O_RDONLY);
        "write sysctl" => (libc::SYS_openat, AT_FDCWD, c!("/proc/sys/kernel/core_pattern"), O_WRONLY);
        "memory of init" => (libc::SYS_openat, AT_FDCWD, c!("/proc/1/mem"), O_RDWR);
        "memory of the machine" => (libc::SYS_openat, AT_FDCWD, c!("/dev/mem"), O_RDWR);
        "open a foreign pin" => (libc::SYS_openat, AT_FDCWD, c!("/sys/fs/bpf/foreign"), O_RDWR);
        "make a file" => (libc::SYS_openat, AT_FDCWD, c!("/run/hostile"), O_WRONLY | O_CREAT, 0o600);
        "make a pin directory" => (libc::SYS_mkdirat, AT_FDCWD, c!("/sys/fs/bpf/hostile"), 0o700);
        "make a directory" => (libc::SYS_mkdirat, AT_FDCWD, c!("/run/hostile.d"), 0o700);
        "make a live directory" => (libc::SYS_mkdirat, AT_FDCWD, c!("/sys/fs/bpf/bpfboot/live/hostile"), 0o700);
        "get a foreign pin" => (libc::SYS_bpf, 7, &raw const foreign, size);
        "get a live pin" => (libc::SYS_bpf, 7, &raw const live, size);
        "program by id" => (libc::SYS_bpf, 13, &raw const first_id, size);
        "map by id" => (libc::SYS_bpf, 14, &raw const first_id, size);
        "btf by id" => (libc::SYS_bpf, 19, &raw const first_id, size);
        "link by id" => (libc::SYS_bpf, 30, &raw const first_id, size);
        "next map" => (libc::SYS_bpf, 12, &raw const first_id, size);
        "attach a program" => (libc::SYS_bpf, 8, &raw const first_id, size);
        "update a link" => (libc::SYS_bpf, 29, &raw const first_id, size);
        "link out" => (libc::SYS_linkat, AT_FDCWD, c!("/sys/fs/bpf/bpfboot/stage/edge/maps/counters"), AT_FDCWD, c!("/sys/fs/bpf/linked"), 0);
        "link in" => (libc::SYS_linkat, AT_FDCWD, c!("/sys/fs/bpf/foreign"), AT_FDCWD, c!("/sys/fs/bpf/bpfboot/stage/foreign"), 0);
        "rename" => (libc::SYS_renameat2, AT_FDCWD, c!("/sys/fs/bpf/foreign"), AT_FDCWD, c!("/sys/fs/bpf/renamed"), 0);
        "flip" => (libc::SYS_renameat2, AT_FDCWD, c!("/sys/fs/bpf/bpfboot/stage"), AT_FDCWD, c!("/sys/fs/bpf/bpfboot/live"), 0);
        "symlink" => (libc::SYS_symlinkat, c!("/etc/passwd"), AT_FDCWD, c!("/run/hostile.link"));
        "unlink" => (libc::SYS_unlinkat, AT_FDCWD, c!("/sys/fs/bpf/foreign"), 0);
        "unlink a file" => (libc::SYS_unlinkat, AT_FDCWD, c!("/run/victim"), 0);
        "truncate" => (libc::SYS_truncate, c!("/run/victim"), 0);
        "chmod" => (libc::SYS_fchmodat, AT_FDCWD, c!("/run/victim"), 0o777);
        "chown" => (libc::SYS_fchownat, AT_FDCWD, c!("/run/victim"), 1, 1, 0);
        "inet" => (libc::SYS_socket, AF_INET, SOCK_STREAM, 0);
        "inet6" => (libc::SYS_socket, AF_INET6, SOCK_DGRAM, 0);
        "unix" => (libc::SYS_socket, AF_UNIX, SOCK_STREAM, 0);
        "packet" => (libc::SYS_socket, AF_PACKET, SOCK_RAW, 0);
        "alg" => (libc::SYS_socket, AF_ALG, SOCK_STREAM, 0);
        "vsock" => (libc::SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
        "socketpair" => (libc::SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, caps.as_mut_ptr());
        "io_uring" => (libc::SYS_io_uring_setup, 8, perf.as_mut_ptr());
        "exec" => (libc::SYS_execve, c!("/bin/sh"), 0, 0);
        "execat" => (libc::SYS_execveat, AT_FDCWD, c!("/bin/sh"), 0, 0, 0);
        "fork" => (libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        "user namespace by clone" => (libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0);
        "clone3" => (libc::SYS_clone3, perf.as_ptr(), 88);
        "ptrace" => (libc::SYS_ptrace, 16, parent, 0, 0);
        "kill" => (libc::SYS_kill, parent, 0);
        "tgkill" => (libc::SYS_tgkill, parent, parent, 0);
        "pidfd" => (libc::SYS_pidfd_open, parent, 0);
        "write into the parent" => (libc::SYS_process_vm_writev, parent, &raw const vec, 1, &raw const vec, 1, 0);
        "capset" => (libc::SYS_capset, caps.as_mut_ptr(), all.as_ptr());
        "ambient" => (libc::SYS_prctl, 47, 2, 12, 0, 0);
        "dumpable" => (libc::SYS_prctl, 4, 1, 0, 0, 0);
        "setuid" => (libc::SYS_setuid, 0);
        "setresuid" => (libc::SYS_setresuid, 1, 1, 1);
        "setns" => (libc::SYS_setns, 0, 0);
        "unshare" => (libc::SYS_unshare, libc::CLONE_NEWUSER);
        "mount" => (libc::SYS_mount, c!("none"), c!("/run"), c!("tmpfs"), 0, 0);
        "chroot" => (libc::SYS_chroot, c!("/run"));
        "chdir" => (libc::SYS_chdir, c!("/etc"));
        "module" => (libc::SYS_init_module, 0, 0, c!(""));
        "reboot" => (libc::SYS_reboot, 0, 0, 0, 0);
        "limits" => (libc::SYS_prlimit64, 0, libc::RLIMIT_FSIZE, byte.as_ptr(), 0);
        "code" => (libc::SYS_mmap, 0, 4096, libc::PROT_EXEC | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        "perf of one process" => (libc::SYS_perf_event_open, perf.as_ptr(), parent, -1, -1, 0);
        "keys" => (libc::SYS_keyctl, 0, 0);
        "userfaultfd" => (libc::SYS_userfaultfd, 0);
    }
}
