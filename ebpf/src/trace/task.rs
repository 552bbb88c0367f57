//! Who is at work, and whether anybody asked for it. The loader may override what is asked for.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
};
use bpfboot_ebpf::event::Task;
use core::ptr::{addr_of_mut, from_ref, read_volatile};

/// Only of this user; `u32::MAX`, which is nobody's number: of all.
#[unsafe(export_name = "only_uid")]
static ONLY_UID: u32 = u32::MAX;

/// Only in this cgroup, and not below it; 0: in all.
#[unsafe(export_name = "only_cgroup")]
static ONLY_CGROUP: u64 = 0;

/// Only of threads with this name; empty: of all.
#[unsafe(export_name = "only_comm")]
static ONLY_COMM: Comm = Comm([0; 16]);

#[repr(C, align(8))]
struct Comm([u8; 16]);

/// Process and thread.
#[inline(always)]
pub fn ids() -> (u32, u32) {
    // SAFETY: a helper without arguments.
    let id = unsafe { bpf_get_current_pid_tgid() };
    ((id >> 32) as u32, id as u32)
}

/// Says who the current task is, and whether it is asked for. A function of its own: all programs have it once.
#[inline(never)]
pub fn asked_for(task: &mut Task) -> bool {
    // SAFETY: the reads are plain ones, volatile because the compiler must not fold in the defaults, and of aligned
    // words; the helper writes to 16 bytes of the record.
    unsafe {
        let user = bpf_get_current_uid_gid();
        let only = read_volatile(&ONLY_UID);
        if only != u32::MAX && only != user as u32 {
            return false;
        }
        let cgroup = bpf_get_current_cgroup_id();
        let only = read_volatile(&ONLY_CGROUP);
        if only != 0 && only != cgroup {
            return false;
        }
        // Some kernels (6.0) leave what follows the name as it was. Volatile: or it is a call of memset(), a loop.
        let name = addr_of_mut!(task.comm).cast::<u64>();
        name.write_volatile(0);
        name.add(1).write_volatile(0);
        bpf_get_current_comm(name.cast(), 16);
        let only = read_volatile(from_ref(&ONLY_COMM).cast::<[u64; 2]>());
        if only[0] != 0 && only != *name.cast::<[u64; 2]>() {
            return false;
        }
        (task.pid, task.tid) = ids();
        (task.uid, task.gid, task.cgroup) = (user as u32, (user >> 32) as u32, cgroup);
    }
    true
}
