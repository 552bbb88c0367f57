// Functions that helpers call back, with what they are given on the stack of the program, and one that runs later.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

struct later {
	struct bpf_timer timer;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct later);
} timers SEC(".maps");

struct state {
	__u64 sum;
	char *name;
	__u32 rounds;
};

static int turn(__u32 index, struct state *state)
{
	volatile long kept = index;

	state->sum += kept;
	state->rounds++;
	bpf_get_current_comm(state->name, 16);
	return 0;
}

static int quiet_turn(__u32 index, void *ctx)
{
	char own[40];

	bpf_get_current_comm(own, sizeof(own));
	return own[0] == 'x';
}

static __u64 each(struct bpf_map *map, __u32 *key, __u64 *value, struct state *state)
{
	state->sum += *value;
	return 0;
}

static int fire(void *map, int *key, struct later *later)
{
	volatile long kept[6] = { *key };

	later->count += kept[0];
	return 0;
}

SEC("xdp")
int rounds(struct xdp_md *ctx)
{
	char name[32] = {};
	struct state state = { .name = name };

	bpf_loop(20, turn, &state, 0);
	return (state.sum + name[1]) & 1;
}

SEC("xdp")
int many(struct xdp_md *ctx)
{
	struct state state = {};
	volatile long kept = 3;

	bpf_for_each_map_elem(&table, each, &state, 0);
	bpf_loop(bpf_get_prandom_u32() & 63, quiet_turn, NULL, 0);
	return (state.sum + kept) & 1;
}

SEC("xdp")
int timed(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct later *later = bpf_map_lookup_elem(&timers, &zero);

	if (!later)
		return XDP_DROP;
	bpf_timer_init(&later->timer, &timers, 1);
	bpf_timer_set_callback(&later->timer, fire);
	bpf_timer_start(&later->timer, 1000000000, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
