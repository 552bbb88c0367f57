// Chains of calls: functions that call each other, each with a stack of its own, in several shapes.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef BYTES
#define BYTES 24
#endif
#define NOINLINE static __attribute__((noinline))

NOINLINE int leaf(int seed)
{
	char bytes[BYTES];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return bytes[0] + seed + bpf_get_prandom_u32();
}

NOINLINE int without_stack(int seed)
{
	return seed * 3 + bpf_get_prandom_u32();
}

NOINLINE int middle(int seed)
{
	volatile long kept = seed;

	return leaf(seed) + without_stack(seed) + kept;
}

NOINLINE int top(int seed)
{
	char bytes[BYTES * 2];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return middle(bytes[1]) + leaf(seed);
}

NOINLINE int four(int seed) { volatile int kept = seed; return kept + leaf(seed); }
NOINLINE int three(int seed) { volatile int kept = seed; return kept + four(seed + 1); }
NOINLINE int two(int seed) { volatile long kept[3] = { seed }; return kept[0] + three(seed + 1); }
NOINLINE int first(int seed) { volatile int kept = seed; return kept + two(seed + 1) + without_stack(seed); }

SEC("xdp")
int shallow(struct xdp_md *ctx)
{
	return without_stack(ctx->ingress_ifindex) & 1;
}

SEC("xdp")
int deep(struct xdp_md *ctx)
{
	volatile long kept = 1;

	return (top(ctx->rx_queue_index) + kept) & 1;
}

SEC("xdp")
int deeper(struct xdp_md *ctx)
{
	return (first(1) + top(2)) & 1;
}

char LICENSE[] SEC("license") = "GPL";
