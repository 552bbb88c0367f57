// Calls what the kernel keeps for free software, under a licence that is not.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int licence(struct xdp_md *ctx)
{
	bpf_printk("%d", ctx->rx_queue_index);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Proprietary";
