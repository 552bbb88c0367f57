// Harmless, and takes the verifier its time: it walks every turn of both loops.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int slow(struct xdp_md *ctx)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < 60000; i++)
		sum += bpf_get_prandom_u32() & i;
	return sum == 1 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
