// More values alive than there are registers, so that the compiler puts them, pointers into the stack too, on the stack.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NOINLINE static __attribute__((noinline))

NOINLINE __u64 mix(char *into, __u64 a, __u64 b, __u64 c, __u64 d)
{
	into[a & 7] = b;
	return (a ^ b) * (c + d);
}

SEC("xdp")
int crowded(struct xdp_md *ctx)
{
	char one[16] = {}, two[24] = {}, three[40] = {};
	__u64 a = bpf_get_prandom_u32(), b = bpf_ktime_get_ns(), c = bpf_get_prandom_u32(), d = bpf_ktime_get_ns();
	__u64 e = bpf_get_prandom_u32(), f = bpf_get_prandom_u32(), g = bpf_ktime_get_ns(), h = bpf_get_smp_processor_id();
	char *at = a & 1 ? one : two;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 6; i++) {
		a += mix(at, b, c, d, e);
		b ^= mix(three, f, g, h, a);
		c += mix(at + 8, a, b, g, h) + bpf_get_smp_processor_id();
		at = i & 1 ? two : one;
	}
	return (a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ one[2] ^ two[3] ^ three[4]) & 1;
}

SEC("xdp")
int swapped(struct xdp_md *ctx)
{
	__u64 words[12] = {};
	__u64 *left = words, *right = words + 11;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 5; i++) {
		*left = bpf_get_prandom_u32();
		*right = bpf_ktime_get_ns() + *left;
		left++;
		right--;
	}
	return words[5] & 1;
}

SEC("tc")
int around_calls(struct __sk_buff *skb)
{
	__u32 len = skb->len, mark = skb->mark, hash = skb->hash, queue = skb->queue_mapping, prio = skb->priority;
	__u32 cpu = bpf_get_smp_processor_id();

	len += bpf_get_smp_processor_id();
	mark ^= bpf_ktime_get_ns() + hash;
	queue += bpf_get_smp_processor_id() * prio;
	return (len ^ mark ^ hash ^ queue ^ prio ^ cpu) & 1;
}

char LICENSE[] SEC("license") = "GPL";
