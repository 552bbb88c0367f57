// Fields of the kernel's types, which not every kernel has: a task's state got its underscores with 5.14.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid;
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___old {
	long state;
} __attribute__((preserve_access_index));

SEC("raw_tp/sys_enter")
int f_everywhere(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, pid) == 1;
}

SEC("raw_tp/sys_enter")
int f_new(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, __state) != 0;
}

SEC("raw_tp/sys_enter")
int f_old(void *ctx)
{
	struct task_struct___old *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, state) != 0;
}

SEC("raw_tp/sys_enter")
int f_either(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state) != 0;
	return BPF_CORE_READ((struct task_struct___old *)task, state) != 0;
}

char LICENSE[] SEC("license") = "GPL";
