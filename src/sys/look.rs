//! What the kernel tells of a program, a map or a link by its descriptor. Reads only.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type as T, bpf_prog_info, bpf_stats_type};

use super::{
    bpf::{LinkIdentity, MapIdentity, Pinned, ProgramIdentity, bpf, info, zeroed},
    file,
    link::own,
};

/// Most bytes of keys and values that are looked at in one call.
const BATCH: usize = 256 << 10;
/// BPF_PERF_EVENT_KPROBE and _KRETPROBE (include/uapi/linux/bpf.h).
const KPROBES: [u32; 2] = [3, 4];

/// What /proc tells of a descriptor.
pub struct FdInfo {
    /// What it stands for; `None` when it is nothing of BPF's.
    pub kind: Option<Pinned>,
    /// Bytes charged for it; `None` for links.
    pub memory: Option<u64>,
}

/// Asks /proc (bpf_prog_show_fdinfo(), bpf_map_show_fdinfo(), bpf_link_show_fdinfo() in kernel/bpf/syscall.c).
///
/// # Errors
/// Without /proc.
pub fn fdinfo(fd: BorrowedFd<'_>) -> io::Result<FdInfo> {
    let text = file::text(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kinds = [("map_type:", Pinned::Map), ("prog_type:", Pinned::Program), ("link_type:", Pinned::Link)];
    let kind = kinds.into_iter().find(|(name, _)| value(name).is_some()).map(|(_, kind)| kind);
    Ok(FdInfo { kind, memory: value("memlock:").and_then(|bytes| bytes.parse().ok()) })
}

/// What a program has been doing.
pub struct ProgramInfo {
    /// Who it is.
    pub identity: ProgramIdentity,
    /// BPF_PROG_TYPE_*.
    pub kind: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// When it was loaded, since boot.
    pub loaded: Duration,
    /// Runs while statistics were on.
    pub runs: u64,
    /// Nanoseconds of those.
    pub ns: u64,
    /// Runs left out because it was running already.
    pub misses: u64,
}

/// Asks for it.
///
/// # Errors
/// EBADF, or EINVAL when the descriptor is no BPF object.
pub fn program(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let info: bpf_prog_info = info(fd)?;
    Ok(ProgramInfo {
        identity: ProgramIdentity { id: info.id, tag: info.tag, verified_instructions: info.verified_insns },
        kind: info.type_,
        jited: info.jited_prog_len,
        loaded: Duration::from_nanos(info.load_time),
        runs: info.run_cnt,
        ns: info.run_time_ns,
        misses: info.recursion_misses,
    })
}

/// What a link holds on to.
pub struct LinkInfo {
    /// Who it is.
    pub identity: LinkIdentity,
    /// Whether what it was attached to has gone: the link lives on and does nothing.
    pub gone: bool,
    /// Hits of a kprobe that were passed over; 0 before 6.7. `None` for other links.
    pub missed: Option<u64>,
}

/// Asks for it.
///
/// # Errors
/// As [`program`].
#[allow(unsafe_code, reason = "the info is a C union")]
pub fn link(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let info: bpf_link_info = info(fd)?;
    let is = |kind: T| info.type_ == kind as u32;
    let of = &info.__bindgen_anon_1;
    // SAFETY: every member of the union is plain numbers, and was zeroed before the kernel filled it; each is read for
    // links of its own type only.
    let (gone, missed) = unsafe {
        match () {
            () if is(T::BPF_LINK_TYPE_XDP) => (of.xdp.ifindex == 0, None),
            () if is(T::BPF_LINK_TYPE_TCX) => (of.tcx.ifindex == 0, None),
            () if is(T::BPF_LINK_TYPE_NETKIT) => (of.netkit.ifindex == 0, None),
            () if is(T::BPF_LINK_TYPE_CGROUP) => (of.cgroup.cgroup_id == 0, None),
            () if is(T::BPF_LINK_TYPE_NETNS) => (of.netns.netns_ino == 0, None),
            () if is(T::BPF_LINK_TYPE_KPROBE_MULTI) => (false, Some(of.kprobe_multi.missed)),
            () if is(T::BPF_LINK_TYPE_PERF_EVENT) && KPROBES.contains(&of.perf_event.type_) => {
                (false, Some(of.perf_event.__bindgen_anon_1.kprobe.missed))
            }
            () => (false, None),
        }
    };
    // SAFETY: as above.
    let ifindex = is(T::BPF_LINK_TYPE_XDP).then_some(unsafe { of.xdp.ifindex });
    Ok(LinkInfo { identity: LinkIdentity { id: info.id, program: info.prog_id, ifindex }, gone, missed })
}

/// Has the kernel count and time the runs of every program for as long as the descriptor is open (BPF_ENABLE_STATS,
/// 5.8). No sysctl changes.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, EINVAL before 5.8.
pub fn count_runs() -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
    own(bpf(bpf_cmd::BPF_ENABLE_STATS, &mut attr)?)
}

/// The entries of a map, many a call (BPF_MAP_LOOKUP_BATCH, 5.6). `value`: bytes that user space gets for a value.
/// Looking does not make an entry of an LRU map younger.
///
/// # Errors
/// 524 or EINVAL for maps that cannot be read so.
pub fn count_by_batch(map: &OwnedFd, identity: &MapIdentity, value: usize) -> io::Result<u64> {
    let key = identity.key_size as usize;
    let most = (BATCH / (key + value).max(1)).clamp(16, 4096).min(identity.max_entries as usize);
    let (mut room, mut total, mut begun) = (most, 0, false);
    // The kernel's place in the table: a key, or a bucket's number.
    let (mut from, mut to) = (vec![0_u8; key.max(4)], vec![0_u8; key.max(4)]);
    loop {
        let (mut keys, mut values) = (vec![0_u8; key * room], vec![0_u8; value * room]);
        let mut attr: bpf_attr = zeroed();
        attr.batch.in_batch = if begun { from.as_ptr() as u64 } else { 0 };
        attr.batch.out_batch = to.as_mut_ptr() as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = room as u32;
        attr.batch.map_fd = map.as_fd().as_raw_fd() as u32;
        let done = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
        #[allow(unsafe_code, reason = "the attribute is a C union")]
        // SAFETY: this member was filled above, and the kernel wrote the count into it.
        let count = u64::from(unsafe { attr.batch.count });
        match done {
            Ok(_) => total += count,
            Err(error) => match error.raw_os_error() {
                // ENOENT: that was the end, and `count` of it came.
                Some(libc::ENOENT) => return Ok(total + count),
                // One bucket holds more than there was room for.
                Some(libc::ENOSPC) if room < identity.max_entries as usize => {
                    room = (room * 2).min(identity.max_entries as usize);
                    continue;
                }
                _ => return Err(error),
            },
        }
        begun = true;
        std::mem::swap(&mut from, &mut to);
    }
}

/// Since boot, the time asleep counted: by this clock the kernel dates what was loaded.
#[allow(unsafe_code, reason = "nix's time feature is not used elsewhere")]
pub fn since_boot() -> Duration {
    let mut now = zeroed::<libc::timespec>();
    // SAFETY: the kernel fills the structure, and this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
