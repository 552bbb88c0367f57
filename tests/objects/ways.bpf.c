// One getpgid(2) by the process `pid`, seen in four ways, each counted in a slot of its own: of alternatives, the one
// that counts is the one that was taken.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 pid;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
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

SEC("fentry/__x64_sys_getpgid")
int by_fentry(void *ctx)
{
	return count(0);
}

SEC("kprobe/__x64_sys_getpgid")
int by_kprobe(void *ctx)
{
	return count(1);
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int by_tracepoint(void *ctx)
{
	return count(2);
}

// getpgid is call 121 of x86-64.
SEC("raw_tp/sys_enter")
int by_raw(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1] == 121 ? count(3) : 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
