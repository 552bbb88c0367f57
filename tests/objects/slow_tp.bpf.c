// As slow, for a tracepoint.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_acct")
int slow_tp(void *ctx)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < 60000; i++)
		sum += bpf_get_prandom_u32() & i;
	return sum == 1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
