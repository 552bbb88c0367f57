//! What the embedded objects write into their ring buffers, laid out once for both sides: `ebpf/` includes this file, and
//! `bpfboot events` reads by it. Numbers are in the machine's byte order; a text shorter than its field ends with a NUL.
//!
//! A record ends with its last text, cut to what is used of it: [`Header::size`] is the length of the record.

/// What a record tells of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Kind {
    /// [`Open`]: a file is about to be opened.
    Open = 1,
    /// [`Exec`]: a process runs another program now.
    Exec = 2,
    /// [`Exit`]: a process ended.
    Exit = 3,
    /// [`Read`]: a file is about to be read.
    Read = 4,
    /// [`Http`]: the first segment of a request.
    Http = 16,
    /// [`Dns`]: a question.
    Dns = 17,
    /// [`Tls`]: a ClientHello.
    Tls = 18,
}

/// How every record begins.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Header {
    /// Nanoseconds of CLOCK_MONOTONIC (bpf_ktime_get_ns()).
    pub time: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// Bytes of the record, this header among them.
    pub size: u32,
}

/// Who did it; numbers of the first PID and user namespace.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Task {
    /// The process (the thread group).
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Id of the cgroup in the unified hierarchy: the inode of its directory.
    pub cgroup: u64,
    /// The thread's name (TASK_COMM_LEN).
    pub comm: [u8; 16],
}

/// openat(2) or openat2(2): 656 bytes, the size of the guide's large event, more than a BPF stack holds.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Open {
    /// [`Kind::Open`].
    pub header: Header,
    /// Who.
    pub task: Task,
    /// The directory a relative path starts from, AT_FDCWD (-100) for the working directory.
    pub directory: i32,
    /// O_* flags.
    pub flags: u32,
    /// Permissions of a file that is created.
    pub mode: u32,
    /// Bytes of `path` that are used, the NUL among them; 0 when the kernel could not read it.
    pub length: u32,
    /// The path as it was written; a longer one is cut.
    pub path: [u8; 584],
}

/// A program that execve(2) or execveat(2) has started.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Exec {
    /// [`Kind::Exec`].
    pub header: Header,
    /// Who, with the new name.
    pub task: Task,
    /// The file; empty where the kernel does not tell it.
    pub file: [u8; 256],
    /// How many words the command line has; 0 when it could not be read.
    pub words: u32,
    /// Bytes of `line` that are used.
    pub length: u32,
    /// The command line, a NUL after each word; a longer one is cut.
    pub line: [u8; 512],
}

/// A process that ended: its first thread did. Also when another thread has called execve(2) and takes its place: then
/// the status is [`Exit::UNKNOWN`], and an [`Exec`] of the same process follows.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Exit {
    /// [`Kind::Exit`].
    pub header: Header,
    /// Who.
    pub task: Task,
    /// As wait(2) gives it: exit code << 8, or the signal, without the flag of a core dump (0x80), which comes later;
    /// [`Exit::UNKNOWN`] when neither was seen.
    pub status: u32,
    /// 0, for the alignment.
    pub reserved: u32,
    /// Nanoseconds since its exec was seen; 0 when it was not.
    pub duration: u64,
}

impl Exit {
    /// A status that wait(2) never gives.
    pub const UNKNOWN: u32 = u32::MAX;
}

/// A read through vfs_read(): read(2), pread(2), and what the kernel reads for itself.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Read {
    /// [`Kind::Read`].
    pub header: Header,
    /// Who.
    pub task: Task,
    /// Bytes asked for.
    pub count: u64,
}

/// The packet that a record was found in.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Flow {
    /// Source address, big-endian; an IPv4 address fills the first four bytes.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The interface it came in on.
    pub interface: u32,
    /// 4 or 6.
    pub version: u8,
    /// IPPROTO_TCP (6) or IPPROTO_UDP (17).
    pub protocol: u8,
    /// The outer VLAN, 0 for none.
    pub vlan: u16,
    /// 0, for the alignment.
    pub reserved: u32,
}

/// The start of an HTTP/1 request.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Http {
    /// [`Kind::Http`].
    pub header: Header,
    /// Between whom.
    pub flow: Flow,
    /// The method.
    pub method: [u8; 8],
    /// The host header where it is in what was looked at; else empty.
    pub host: [u8; 64],
    /// The request target; a longer one is cut.
    pub path: [u8; 128],
}

/// The first question of a DNS query.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Dns {
    /// [`Kind::Dns`].
    pub header: Header,
    /// Between whom.
    pub flow: Flow,
    /// The query's id.
    pub id: u16,
    /// Its type: 1 A, 28 AAAA.
    pub qtype: u16,
    /// Bytes of `name` that are used.
    pub length: u32,
    /// The name as on the wire: before each label its length, at the end 0.
    pub name: [u8; 256],
}

/// A TLS ClientHello.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tls {
    /// [`Kind::Tls`].
    pub header: Header,
    /// Between whom.
    pub flow: Flow,
    /// legacy_version: 0x0303 also in TLS 1.3.
    pub version: u16,
    /// Bytes of `alpn` that are used.
    pub alpn_length: u16,
    /// Bytes of `name` that are used.
    pub name_length: u32,
    /// The protocols offered, as on the wire: before each its length; a longer list is cut.
    pub alpn: [u8; 64],
    /// The server's name (SNI); a longer one is cut.
    pub name: [u8; 256],
}

// Nothing between two fields that a reader could take for one, and no byte that was never written.
const _: () = assert!(size_of::<Open>() == 656 && size_of::<Exec>() == 56 + 256 + 8 + 512);
const _: () = assert!(size_of::<Exit>() == 72 && size_of::<Read>() == 64 && size_of::<Flow>() == 48);
const _: () = assert!(size_of::<Http>() == 64 + 200 && size_of::<Dns>() == 64 + 264 && size_of::<Tls>() == 64 + 328);
