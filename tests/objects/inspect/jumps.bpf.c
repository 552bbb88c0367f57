// A chain of programs, each of which jumps to the next by a tail call: LENGTH jumps from `jump_0`. How many of them ran
// stands in `bodies`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef LENGTH
#define LENGTH 5
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} bodies SEC(".maps");

#define DECLARE(n) int jump_##n(struct xdp_md *ctx);
#define SLOT(n) [n] = (void *)&jump_##n,
#define EACH(of) of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7) of(8) of(9) of(10) of(11) of(12) of(13) of(14) of(15) \
	of(16) of(17) of(18) of(19) of(20) of(21) of(22) of(23) of(24) of(25) of(26) of(27) of(28) of(29) of(30) of(31) \
	of(32) of(33) of(34) of(35)

EACH(DECLARE)

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 36);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { EACH(SLOT) } };

static __always_inline int body(struct xdp_md *ctx, __u32 number)
{
	__u32 zero = 0;
	__u64 *ran = bpf_map_lookup_elem(&bodies, &zero);

	if (ran)
		*ran += 1;
	if (number < LENGTH)
		bpf_tail_call(ctx, &jumps, number + 1);
	return XDP_PASS;
}

#define BODY(n) SEC("xdp") int jump_##n(struct xdp_md *ctx) { return body(ctx, n); }

EACH(BODY)

char LICENSE[] SEC("license") = "GPL";
