//! The few commands of bpf(2) that aya keeps to itself: looking at what is pinned, updating a link in place, and map
//! entries whose sizes are known only at run time.

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type, bpf_map_info, bpf_prog_info};
use rustix::fs::{Mode, OFlags};

use super::link::own;

/// bpf(2). `attr` must be filled for `cmd`.
#[allow(unsafe_code, reason = "bpf(2) has no wrapper")]
pub(super) fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most size_of::<bpf_attr>() bytes, and every pointer in `attr` outlives the
    // call because the callers below borrow what they point to.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_int, &raw mut *attr, size_of::<bpf_attr>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

#[allow(unsafe_code, reason = "the attribute is a C union")]
pub(super) fn zeroed<T>() -> T {
    // SAFETY: only used for the plain C structures of linux/bpf.h, for which all zeroes is a value.
    unsafe { mem::zeroed() }
}

pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Opens a pin (BPF_OBJ_GET).
///
/// # Errors
/// ENOENT, EACCES for a file that is not on bpffs, EPERM for a pin we may not open.
#[allow(unsafe_code, reason = "the new descriptor is owned here")]
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: BPF_OBJ_GET returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Pins what a descriptor stands for (BPF_OBJ_PIN).
///
/// # Errors
/// EEXIST, ENOENT for the directory, EPERM off bpffs or for a name with a dot.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = fd.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Makes a token of a bpffs that belongs to our user namespace, by its root (BPF_TOKEN_CREATE, 6.9).
///
/// # Errors
/// ENOENT: it delegates nothing; EPERM: it belongs to another user namespace, or without CAP_BPF in ours; EINVAL before
/// 6.9; EOPNOTSUPP in the initial user namespace.
pub fn create_token(root: &Path) -> io::Result<OwnedFd> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, how, Mode::empty())?;
    let mut attr: bpf_attr = zeroed();
    attr.token_create.bpffs_fd = root.as_raw_fd() as u32;
    own(bpf(bpf_cmd::BPF_TOKEN_CREATE, &mut attr)?)
}

/// What a token allows, one line each: `allowed_maps:\t0x4`.
///
/// # Errors
/// Without /proc.
pub fn token_info(token: &OwnedFd) -> io::Result<String> {
    let path = format!("/proc/self/fdinfo/{}", token.as_raw_fd());
    super::file::text(&path)
}

/// The bytes that fdinfo says a map takes (bpf_map_show_fdinfo() in kernel/bpf/syscall.c). `None` without /proc.
pub fn memlock(map: BorrowedFd<'_>) -> Option<u64> {
    let text = super::file::text(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

/// What kind of thing a BPF descriptor stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pinned {
    /// A map.
    Map,
    /// A program.
    Program,
    /// A link.
    Link,
}

/// Tells the kinds apart by the name the kernel gave the anonymous file (bpf_map_new_fd() in kernel/bpf/syscall.c and
/// its sisters), since BPF_OBJ_GET_INFO_BY_FD fills whatever fits the descriptor and says nothing of its kind.
pub fn kind_of(fd: BorrowedFd<'_>) -> Option<Pinned> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    match link.as_os_str().as_bytes() {
        b"anon_inode:bpf-map" => Some(Pinned::Map),
        b"anon_inode:bpf-prog" => Some(Pinned::Program),
        b"anon_inode:bpf_link" | b"anon_inode:bpf-link" => Some(Pinned::Link),
        _ => None,
    }
}

pub(super) fn info<T>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info: T = zeroed();
    let mut attr: bpf_attr = zeroed();
    attr.info.bpf_fd = fd.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// What identifies a loaded program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProgramIdentity {
    /// The kernel's id, never reused before it wraps at 2^31.
    pub id: u32,
    /// The kernel's hash over the instructions (bpf_prog_calc_tag()).
    pub tag: [u8; 8],
    /// Instructions the verifier walked; 0 before 5.16.
    pub verified_instructions: u32,
}

impl ProgramIdentity {
    /// The tag as bpftool writes it.
    pub fn tag(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.tag))
    }
}

/// Who a program is.
///
/// # Errors
/// EBADF, or EINVAL when the descriptor is no BPF object.
pub fn program_identity(fd: BorrowedFd<'_>) -> io::Result<ProgramIdentity> {
    let info: bpf_prog_info = info(fd)?;
    Ok(ProgramIdentity { id: info.id, tag: info.tag, verified_instructions: info.verified_insns })
}

/// A map's id and layout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapIdentity {
    /// The kernel's id.
    pub id: u32,
    /// BPF_MAP_TYPE_*.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
}

/// Who a map is.
///
/// # Errors
/// As [`program_identity`].
pub fn map_identity(fd: BorrowedFd<'_>) -> io::Result<MapIdentity> {
    let info: bpf_map_info = info(fd)?;
    Ok(MapIdentity {
        id: info.id,
        map_type: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// A link's id, its program, and for XDP the interface it still holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkIdentity {
    /// The kernel's id.
    pub id: u32,
    /// The program behind it now.
    pub program: u32,
    /// For XDP: the interface, 0 once it is gone (xdp_link_fill_info... net/core/dev.c). `None` for other links.
    pub ifindex: Option<u32>,
}

/// Who a link is.
///
/// # Errors
/// As [`program_identity`].
#[allow(unsafe_code, reason = "the info is a C union")]
pub fn link_identity(fd: BorrowedFd<'_>) -> io::Result<LinkIdentity> {
    let info: bpf_link_info = info(fd)?;
    let xdp = info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32;
    // SAFETY: every member of the union is plain numbers; this one means something for XDP links only.
    let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    Ok(LinkIdentity { id: info.id, program: info.prog_id, ifindex: xdp.then_some(ifindex) })
}

/// Puts another program behind a link, without a gap (BPF_LINK_UPDATE; XDP since 5.9).
///
/// # Errors
/// ENOLINK when the interface is gone, EINVAL when the new program's attach type differs.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr: bpf_attr = zeroed();
    attr.link_update.link_fd = link.as_raw_fd() as u32;
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link at once, whoever else holds it (BPF_LINK_DETACH, 5.9).
///
/// # Errors
/// EOPNOTSUPP for kinds that only detach with their last reference.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr: bpf_attr = zeroed();
    attr.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// Runs a program on a packet of zeroes so many times (BPF_PROG_TEST_RUN, 4.12): what it returned, and the nanoseconds of
/// one run.
///
/// # Errors
/// EOPNOTSUPP, 524: for kinds that only the kernel can run.
#[allow(unsafe_code, reason = "the attribute is a C union")]
pub fn test_run(program: BorrowedFd<'_>, times: u32) -> io::Result<(u32, u32)> {
    let packet = [0_u8; 64];
    let mut attr: bpf_attr = zeroed();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = packet.len() as u32;
    attr.test.repeat = times;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has filled this member, which is plain numbers.
    unsafe { Ok((attr.test.retval, attr.test.duration)) }
}

/// Writes one entry. `key` and `value` must be as long as the map's; a per-CPU value is one rounded-up copy a CPU.
///
/// # Errors
/// E2BIG when the map is full, and what the map's type makes of it.
pub fn write_entry(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = key.as_ptr() as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Removes one entry; none is fine.
///
/// # Errors
/// EINVAL for arrays, whose entries are always there.
pub fn delete_entry(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = key.as_ptr() as u64;
    absent_is_false(bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr)).map(drop)
}

/// Reads the entry behind `key` into `value`, which must be long enough. `false`: there is none.
///
/// # Errors
/// EOPNOTSUPP for maps without look-up, such as ring buffers.
pub fn read_entry(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = key.as_ptr() as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    absent_is_false(bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr))
}

/// The key after `key`, or the first one, into `next`. `false`: that was the last one.
///
/// # Errors
/// EOPNOTSUPP for maps that cannot be walked.
pub fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = key.map_or(0, |key| key.as_ptr() as u64);
    attr.__bindgen_anon_2.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
    absent_is_false(bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr))
}

fn absent_is_false(result: io::Result<i64>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
