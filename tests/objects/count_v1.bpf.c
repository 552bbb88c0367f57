// Counts each packet in one slot of `hits`; its next version (count_v2) counts in another slot of the same map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef SLOT
#define SLOT 0
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 slot = SLOT;
	__u64 *hit = bpf_map_lookup_elem(&hits, &slot);

	if (hit)
		*hit += 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
