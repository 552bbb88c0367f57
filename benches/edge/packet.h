// Reading a packet.

#define AT(ctx, type, offset) ((type *)at(ctx, offset, sizeof(type)))

INLINE void *at(struct xdp_md *ctx, __u64 offset, __u64 size)
{
	void *start = (void *)(long)ctx->data + offset, *end;

	// Or the compiler works it out a second time, which the verifier takes for another pointer.
	asm("" : "+r"(start));
	end = start;
	asm("%0 += %1" : "+r"(end) : "i"(size));
	return end <= (void *)(long)ctx->data_end ? start : 0;
}

INLINE __u64 offset(__u32 written) { return (written & 0x3ffc) | 2; }
INLINE __u64 inside(struct scratch *s, __u64 position) { return offset(s->payload) + (position & 0x3fff); }
INLINE __u64 be16(const __u8 *bytes) { return bytes[0] << 8 | bytes[1]; }
INLINE __u64 least(__u64 a, __u64 b) { return a < b ? a : b; }

INLINE void words(const __u32 *from, volatile __u32 *to)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

INLINE void clear(void *place, int n)
{
	volatile __u64 *word = place;

	for (int i = 0; i < n; i++)
		word[i] = 0;
}

struct words { __u32 word[4]; };
struct two_words { __u32 word[2]; };

INLINE void fetch(struct xdp_md *ctx, struct scratch *s, __u64 blocks, __u64 from, __u64 length, void *to)
{
	volatile __u8 *rest;
	__u64 whole, done;

	s->want = least(length, 16 * blocks);
#pragma clang loop unroll(disable)
	for (__u64 block = 0; block < blocks; block++) {
		struct words *read;

		if (s->want < 16 * (block + 1))
			break;
		read = AT(ctx, struct words, from + 16 * block);
		if (!read)
			break;
		words(read->word, to + 16 * block);
	}
	whole = s->want & 0x3f0;
	if (whole > 16 * blocks)
		return;
	rest = to + whole;
	clear((void *)rest, 2);
	if (s->want & 8) {
		struct two_words *read = AT(ctx, struct two_words, from + whole);

		if (read) {
			((volatile __u32 *)rest)[0] = read->word[0];
			((volatile __u32 *)rest)[1] = read->word[1];
		}
	}
	done = s->want & 8;
	if (s->want & 4) {
		__u32 *read = AT(ctx, __u32, from + whole + done);

		if (read)
			*(volatile __u32 *)(rest + done) = *read;
	}
	done = s->want & 12;
	if (s->want & 2) {
		__u16 *read = AT(ctx, __u16, from + whole + done);

		if (read)
			*(volatile __u16 *)(rest + done) = *read;
	}
	done = s->want & 14;
	if (s->want & 1) {
		__u8 *read = AT(ctx, __u8, from + whole + done);

		if (read)
			rest[done] = *read;
	}
}
