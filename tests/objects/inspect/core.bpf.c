// Fields of the kernel's own structures, found by CO-RE.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid, tgid;
	struct task_struct *real_parent;
	char comm[16];
	unsigned long start_time;
	int not_there___for_sure;
} __attribute__((preserve_access_index));

SEC("tp_btf/sched_switch")
int typed(__u64 *ctx)
{
	struct task_struct *next = (void *)ctx[2];
	char comm[16];

	bpf_probe_read_kernel(comm, sizeof(comm), &next->comm);
	return next->pid + comm[0];
}

SEC("raw_tp/sched_switch")
int read(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *next = (void *)ctx->args[2];
	int pid = BPF_CORE_READ(next, real_parent, real_parent, pid);

	if (bpf_core_field_exists(next->not_there___for_sure)) {
		char large[300];

		bpf_get_current_comm(large, sizeof(large));
		return large[0];
	}
	return pid + BPF_CORE_READ(next, tgid);
}

char LICENSE[] SEC("license") = "GPL";
