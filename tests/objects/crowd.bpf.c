// 20 programs and 40 maps of the kinds that are met, for whoever wants to know what looking at many costs.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define MAP(kind, number, entries)                                                                                    \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_##kind);                                                                    \
		__type(key, __u32);                                                                                   \
		__type(value, __u64);                                                                                 \
		__uint(max_entries, entries);                                                                         \
	} map_##number SEC(".maps");
#define RING(number)                                                                                                  \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                                   \
		__uint(max_entries, 1 << 16);                                                                         \
	} map_##number SEC(".maps");
#define FOUR(a, b, c, d) MAP(HASH, a, 512) MAP(PERCPU_ARRAY, b, 16) MAP(LRU_HASH, c, 10000) MAP(ARRAY, d, 64)

FOUR(0, 1, 2, 3) FOUR(4, 5, 6, 7) FOUR(8, 9, 10, 11) FOUR(12, 13, 14, 15) FOUR(16, 17, 18, 19)
FOUR(20, 21, 22, 23) FOUR(24, 25, 26, 27) FOUR(28, 29, 30, 31) FOUR(32, 33, 34, 35)
MAP(PERCPU_HASH, 36, 1024) MAP(HASH, 37, 100000) RING(38) RING(39)

static __always_inline void count(void *map)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(map, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}

#define PROGRAM(number, one, other)                                                                                   \
	SEC("xdp")                                                                                                    \
	int pass_##number(struct xdp_md *ctx)                                                                         \
	{                                                                                                             \
		count(&map_##one);                                                                                    \
		count(&map_##other);                                                                                  \
		return XDP_PASS;                                                                                      \
	}

PROGRAM(0, 0, 1) PROGRAM(1, 2, 3) PROGRAM(2, 4, 5) PROGRAM(3, 6, 7) PROGRAM(4, 8, 9)
PROGRAM(5, 10, 11) PROGRAM(6, 12, 13) PROGRAM(7, 14, 15) PROGRAM(8, 16, 17) PROGRAM(9, 18, 19)
PROGRAM(10, 20, 21) PROGRAM(11, 22, 23) PROGRAM(12, 24, 25) PROGRAM(13, 26, 27) PROGRAM(14, 28, 29)
PROGRAM(15, 30, 31) PROGRAM(16, 32, 33) PROGRAM(17, 34, 35) PROGRAM(18, 36, 37)

SEC("xdp")
int pass_19(struct xdp_md *ctx)
{
	__u64 *event = bpf_ringbuf_reserve(&map_38, sizeof(*event), 0);

	if (event) {
		*event = 1;
		bpf_ringbuf_submit(event, 0);
	}
	event = bpf_ringbuf_reserve(&map_39, sizeof(*event), 0);
	if (event)
		bpf_ringbuf_discard(event, 0);
	return XDP_PASS;
}
