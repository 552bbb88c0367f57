// A tail call in a function of the program, BEFORE bytes of stack before it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef BEFORE
#define BEFORE 96
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} jumps SEC(".maps");

static __attribute__((noinline)) int jump(struct __sk_buff *skb)
{
	volatile long kept = 1;

	bpf_tail_call(skb, &jumps, skb->len & 3);
	return kept;
}

SEC("tc")
int caller(struct __sk_buff *skb)
{
	char bytes[BEFORE] = {};

	bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes));
	return jump(skb) + bytes[3];
}

char LICENSE[] SEC("license") = "GPL";
