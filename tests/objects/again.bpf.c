// A program on a function that it calls itself: the kernel leaves the inner run out, and counts it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} table SEC(".maps");

SEC("fentry/htab_map_delete_elem")
int on_delete(void *ctx)
{
	__u32 key = 0;

	bpf_map_delete_elem(&table, &key);
	return 0;
}
