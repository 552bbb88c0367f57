// Functions that the verifier looks at alone, constants that rule code out, and variables.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 wanted = 3;
const volatile _Bool deep = 0;
const volatile __u64 table[4] = { 1, 2, 3, 4 };
__u64 seen;

struct pair {
	__u64 first;
	__u32 second;
};

__attribute__((noinline)) int sum(struct pair *pair)
{
	volatile __u64 kept[4] = { 0 };

	if (!pair)
		return 0;
	kept[1] = pair->first;
	return kept[1] + pair->second;
}

__attribute__((noinline)) int plain(int number)
{
	char bytes[24];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return bytes[number & 7] + number;
}

__attribute__((noinline)) int of_packet(struct __sk_buff *skb)
{
	char head[14];

	if (bpf_skb_load_bytes(skb, 0, head, sizeof(head)))
		return 0;
	return head[12];
}

static __attribute__((noinline)) int never(int seed)
{
	char bytes[200];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return bytes[0] + seed;
}

SEC("tc")
int in_parts(struct __sk_buff *skb)
{
	struct pair pair = { skb->len, 7 };

	return (sum(&pair) + plain(skb->mark) + of_packet(skb)) & 1;
}

// Of this program only the short way is ever walked.
SEC("tc")
int ruled_out(struct __sk_buff *skb)
{
	volatile long kept = skb->len;

	if (deep) {
		char large[256];

		bpf_get_current_comm(large, sizeof(large));
		kept += large[0] + never(1);
	}
	if (wanted > 5)
		kept += never(2);
	__sync_fetch_and_add(&seen, table[2]);
	return kept & 1;
}

char LICENSE[] SEC("license") = "GPL";
