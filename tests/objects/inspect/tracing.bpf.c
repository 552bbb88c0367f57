// What tracing programs do all day: names and paths read onto the stack, maps by process, a histogram.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct opened {
	__u64 when;
	__u32 pid, uid;
	char comm[16];
	char path[120];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct slots {
	__u32 slots[27];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct { __u32 pid; __s32 stack; });
	__type(value, struct slots);
} histograms SEC(".maps");

struct enter {
	__u64 common;
	long number;
	long args[6];
};

static __always_inline __u32 log2_of(__u32 v)
{
	__u32 shift, r;

	r = (v > 0xFFFF) << 4;
	v >>= r;
	shift = (v > 0xFF) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xF) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	r |= (v >> 1);
	return r;
}

SEC("tp/syscalls/sys_enter_openat")
int opens(struct enter *ctx)
{
	struct opened event = { .when = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32 };

	event.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (bpf_probe_read_user_str(event.path, sizeof(event.path), (void *)ctx->args[1]) < 0)
		return 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

SEC("kprobe/vfs_read")
int begins(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&starts, &pid, &now, BPF_ANY);
	return 0;
}

SEC("kretprobe/vfs_read")
int ends(struct pt_regs *ctx)
{
	struct { __u32 pid; __s32 stack; } key = {};
	__u32 pid = bpf_get_current_pid_tgid();
	__u64 *start = bpf_map_lookup_elem(&starts, &pid), took;
	struct slots *slots, zero = {};

	if (!start)
		return 0;
	took = bpf_ktime_get_ns() - *start;
	key.pid = pid;
	key.stack = bpf_get_stackid(ctx, &stacks, 0);
	slots = bpf_map_lookup_elem(&histograms, &key);
	if (!slots) {
		bpf_map_update_elem(&histograms, &key, &zero, BPF_NOEXIST);
		slots = bpf_map_lookup_elem(&histograms, &key);
	}
	if (slots) {
		__u32 slot = log2_of(took);

		if (slot > 26)
			slot = 26;
		__sync_fetch_and_add(&slots->slots[slot], 1);
	}
	bpf_map_delete_elem(&starts, &pid);
	return 0;
}

SEC("perf_event")
int samples(void *ctx)
{
	__u64 addresses[20] = {};

	bpf_get_stack(ctx, addresses, sizeof(addresses), 0);
	return addresses[1] != 0;
}

SEC("raw_tp/sched_switch")
int switches(struct bpf_raw_tracepoint_args *ctx)
{
	char text[] = "switch %d\n";
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)ctx->args[1]);
	bpf_trace_printk(text, sizeof(text), (int)word);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
