// 16 copies of a program that is harmless, and of which the verifier walks every turn: 325,000 instructions, a third of
// what it allows and about 100 ms, each.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SLOW(n)                                                 \
	SEC("xdp") int slow_##n(struct xdp_md *ctx)             \
	{                                                       \
		volatile __u64 sum = 0;                         \
                                                                \
		for (int i = 0; i < 25000; i++)                 \
			sum += bpf_get_prandom_u32() & i;       \
		return sum == 1 ? XDP_DROP : XDP_PASS;          \
	}
#define FOUR(n) SLOW(n##0) SLOW(n##1) SLOW(n##2) SLOW(n##3)

FOUR(0) FOUR(1) FOUR(2) FOUR(3)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
