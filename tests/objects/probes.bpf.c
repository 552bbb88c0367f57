// One getpgid(2) by the process `pid` is counted once by each program, in a slot of its own: six ways to see one call.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 pid;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 6);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline int count(__u32 slot)
{
	__u64 *hit = bpf_map_lookup_elem(&hits, &slot);

	if (hit && bpf_get_current_pid_tgid() >> 32 == pid)
		__sync_fetch_and_add(hit, 1);
	return 0;
}

#define SEES(slot, name, section) SEC(section) int name(void *ctx) { return count(slot); }

SEES(0, by_kprobe, "kprobe/__x64_sys_getpgid")
SEES(1, by_kretprobe, "kretprobe/__x64_sys_getpgid")
SEES(2, by_ksyscall, "ksyscall/getpgid")
SEES(3, by_fentry, "fentry/__x64_sys_getpgid")
SEES(4, by_fexit, "fexit/__x64_sys_getpgid")
SEES(5, by_lsm, "lsm/task_getpgid")

char LICENSE[] SEC("license") = "Dual MIT/GPL";
