// A program that jumps to itself: how often it ran stands at index 0, how often a jump fell through at index 1.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} jumps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} bodies SEC(".maps");

static __always_inline void count(__u32 index)
{
	__u64 *counter = bpf_map_lookup_elem(&bodies, &index);

	if (counter)
		*counter += 1;
}

SEC("xdp")
int step(struct xdp_md *ctx)
{
	count(0);
	bpf_tail_call(ctx, &jumps, 0);
	count(1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
