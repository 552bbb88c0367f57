// Refused after three hundred turns of a loop, of which the verifier tells each.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int wordy(struct xdp_md *ctx)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < 300; i++)
		sum += bpf_get_prandom_u32() & i;
	return *(volatile int *)(long)ctx->data + sum;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
