// Loops over what is on the stack: upwards, downwards, from a place found at run time, with copies.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef ROUNDS
#define ROUNDS 24
#endif

SEC("xdp")
int upwards(struct xdp_md *ctx)
{
	__u8 bytes[ROUNDS * 4];
	__u32 sum = 0;

	for (volatile int i = 0; i < 2; i++)
		;
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUNDS * 4; i++)
		bytes[i] = bpf_get_prandom_u32();
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUNDS * 4; i++)
		sum += bytes[i];
	return sum & 1;
}

SEC("xdp")
int downwards(struct xdp_md *ctx)
{
	__u64 words[ROUNDS];
	__u64 sum = 0;

#pragma clang loop unroll(disable)
	for (int i = ROUNDS - 1; i >= 0; i--)
		words[i] = bpf_get_prandom_u32();
#pragma clang loop unroll(disable)
	for (int i = ROUNDS - 1; i >= 2; i--)
		sum += words[i] ^ words[i - 2];
	return sum & 1;
}

SEC("xdp")
int from_a_place(struct xdp_md *ctx)
{
	__u32 words[ROUNDS] = {};
	__u64 start = bpf_get_prandom_u32() & 7;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 8; i++)
		words[start + i] = i;
	return words[ROUNDS / 2] & 1;
}

SEC("xdp")
int packet(struct xdp_md *ctx)
{
	__u8 copy[ROUNDS], *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int sum = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUNDS; i++) {
		if (data + i + 1 > end)
			return XDP_DROP;
		copy[i] = data[i];
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROUNDS; i++)
		sum = sum * 31 + copy[ROUNDS - 1 - i];
	return sum & 1;
}

SEC("xdp")
int unrolled(struct xdp_md *ctx)
{
	__u64 words[8];

#pragma clang loop unroll(full)
	for (int i = 0; i < 8; i++)
		words[i] = bpf_get_prandom_u32() + i;
	return (words[bpf_get_prandom_u32() & 7] + words[3]) & 1;
}

char LICENSE[] SEC("license") = "GPL";
