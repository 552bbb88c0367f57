// Values of many sizes on the stack, reached by stores, by helpers, and at an index known only at run time.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef BYTES
#define BYTES 96
#endif

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u8[40]);
	__type(value, __u8[BYTES]);
} table SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getpgid")
int none(void *ctx)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int one(void *ctx)
{
	volatile char byte = bpf_get_prandom_u32();

	return byte;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int by_helper(void *ctx)
{
	char name[20];

	bpf_get_current_comm(name, sizeof(name));
	return name[3];
}

SEC("raw_tp/sys_enter")
int both(void *ctx)
{
	char key[40] = {}, value[BYTES] = {};

	bpf_get_current_comm(key, 16);
	bpf_map_update_elem(&table, key, value, BPF_ANY);
	return 0;
}

SEC("raw_tp/sys_enter")
int at_index(void *ctx)
{
	char bytes[BYTES] = {};
	__u64 at = bpf_get_prandom_u32() & 31;

	bytes[at] = 1;
	bpf_get_current_comm(bytes, 16);
	return bytes[at ^ 5];
}

SEC("perf_event")
int from_the_middle(void *ctx)
{
	char bytes[BYTES];

	bpf_get_current_comm(bytes + BYTES / 2, BYTES / 2);
	return bytes[BYTES / 2 + (bpf_get_prandom_u32() & 7)];
}

char LICENSE[] SEC("license") = "GPL";
