// Reads the kernel's memory, which lockdown=confidentiality forbids.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int peek(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)ctx->args[0]);
	return word != 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
