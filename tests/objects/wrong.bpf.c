// Programs that the verifier refuses, each for a reason of its own, which is what it is called by.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE static __attribute__((noinline))
// Clang takes no variable apart whose address it must tell.
#define WHOLE(variable) asm volatile("" ::"r"(variable) : "memory")

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

// Clang would refuse a variable of that size.
SEC("xdp")
int stack(struct xdp_md *ctx)
{
	asm volatile("r1 = 0\n*(u64 *)(r10 - 520) = r1" ::: "r1", "memory");
	return XDP_PASS;
}

NOINLINE int second(void)
{
	char place[300];

	place[0] = 1;
	WHOLE(place);
	return XDP_PASS;
}

SEC("xdp")
int call_chain(struct xdp_md *ctx)
{
	char place[300];

	place[0] = 1;
	WHOLE(place);
	return second();
}

#define DEEPER(name, next)                                                                                             \
	NOINLINE int name(volatile int *depth)                                                                         \
	{                                                                                                              \
		*depth += 1;                                                                                           \
		return next(depth) + *depth;                                                                           \
	}

NOINLINE int deep9(volatile int *depth)
{
	return *depth;
}
DEEPER(deep8, deep9)
DEEPER(deep7, deep8)
DEEPER(deep6, deep7)
DEEPER(deep5, deep6)
DEEPER(deep4, deep5)
DEEPER(deep3, deep4)
DEEPER(deep2, deep3)

SEC("xdp")
int call_depth(struct xdp_md *ctx)
{
	volatile int depth = 0;

	return deep2(&depth);
}

SEC("xdp")
int loop(struct xdp_md *ctx)
{
	__u32 wait = ctx->rx_queue_index;

	while (wait != 7)
		asm volatile("" : "+r"(wait));
	return wait;
}

SEC("xdp")
int null_check(struct xdp_md *ctx)
{
	__u32 key = 0, *value = bpf_map_lookup_elem(&table, &key);

	return *value;
}

SEC("xdp")
int packet_bounds(struct xdp_md *ctx)
{
	return *(volatile __u8 *)(long)ctx->data;
}

SEC("xdp")
int map_bounds(struct xdp_md *ctx)
{
	__u32 key = 0, *value = bpf_map_lookup_elem(&numbers, &key);

	return value ? value[25] : 0;
}

SEC("xdp")
int instructions(struct xdp_md *ctx)
{
	volatile __u32 sum = 0;

	for (__u32 i = 0; i < 2000000; i++)
		sum += i;
	return sum;
}

SEC("xdp")
int context(struct xdp_md *ctx)
{
	return *(volatile __u32 *)((void *)ctx + 100);
}

SEC("xdp")
int uninitialised(struct xdp_md *ctx)
{
	int result;

	asm volatile("%0 = r7" : "=r"(result));
	return result;
}

SEC("xdp")
int helper_unknown(struct xdp_md *ctx)
{
	return ((int (*)(void))7777)();
}

SEC("xdp")
int helper_elsewhere(struct xdp_md *ctx)
{
	return bpf_probe_write_user(ctx, ctx, 0);
}

NOINLINE int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &programs, 0);
	return XDP_PASS;
}

SEC("xdp")
int tail_call(struct xdp_md *ctx)
{
	char place[256];

	place[0] = 1;
	WHOLE(place);
	return jump(ctx);
}

SEC("xdp")
int pointer(struct xdp_md *ctx)
{
	return *(volatile __u32 *)(long)ctx->rx_queue_index;
}

SEC("xdp")
int reference(struct xdp_md *ctx)
{
	return bpf_ringbuf_reserve(&ring, 8, 0) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int argument(struct xdp_md *ctx)
{
	return bpf_map_delete_elem(ctx, ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
