// `wild` follows a pointer that the verifier cannot trust; `tame` is in order.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int wild(struct xdp_md *ctx)
{
	return *(volatile __u32 *)(long)ctx->data;
}

SEC("xdp")
int tame(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
