// Functions that reach into the stack of those who call them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE static __attribute__((noinline))

struct view {
	char *bytes;
	__u32 length;
	long *sum;
};

NOINLINE void fill(char *bytes, __u32 at)
{
	bytes[at & 15] = at;
	bytes[0] = 1;
}

NOINLINE int name_into(char *bytes)
{
	return bpf_get_current_comm(bytes, 16);
}

NOINLINE int through(struct view *view)
{
	view->bytes[4] = 3;
	*view->sum += view->length;
	return name_into(view->bytes);
}

NOINLINE int relay(char *bytes)
{
	char own[32];

	name_into(own);
	fill(bytes, own[0]);
	name_into(bytes + 16);
	return own[2];
}

NOINLINE void store(long *to, long what)
{
	to[-2] = what;
	*to = what;
}

SEC("tp/syscalls/sys_enter_getpgid")
int direct(void *ctx)
{
	char bytes[64];

	fill(bytes + 32, 7);
	return name_into(bytes);
}

SEC("tp/syscalls/sys_enter_getpgid")
int indirect(void *ctx)
{
	char bytes[48];
	long sum = 0;
	struct view view = { bytes, sizeof(bytes), &sum };

	return through(&view) + sum;
}

SEC("tp/syscalls/sys_enter_getpgid")
int relayed(void *ctx)
{
	char bytes[80];

	return relay(bytes + 8) + bytes[8];
}

SEC("tp/syscalls/sys_enter_getpgid")
int below(void *ctx)
{
	long words[5];

	store(&words[3], bpf_get_prandom_u32());
	return words[3];
}

// Two callers, two stacks, one function.
SEC("tp/syscalls/sys_enter_getpgid")
int shared(void *ctx)
{
	char mine[24];

	name_into(mine);
	fill(mine, mine[1]);
	return mine[0];
}

char LICENSE[] SEC("license") = "GPL";
