// A hash map whose layout differs from one file to the next: table_64, table_128 (more entries), table_wide (another
// value). What the program returns is the number of bytes of a value.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef ENTRIES
#define ENTRIES 64
#endif
#ifndef WORDS
#define WORDS 1
#endif

struct value {
	__u64 words[WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, struct value);
} table SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct value *found = bpf_map_lookup_elem(&table, &key);

	return found ? (int)found->words[0] : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
