// One map of each kind that configurations fill.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

struct prefix {
	__u32 bits;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

// The value behind the longest prefix of 10.1.2.3.
SEC("xdp")
int route(struct xdp_md *ctx)
{
	struct prefix key = { .bits = 32, .address = { 10, 1, 2, 3 } };
	__u32 zero = 0, *found = bpf_map_lookup_elem(&routes, &key);

	bpf_map_lookup_elem(&hash, &zero);
	bpf_map_lookup_elem(&array, &zero);
	bpf_map_lookup_elem(&per_cpu, &zero);
	bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	return found ? *found : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
