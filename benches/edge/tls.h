// TLS.

INLINE __u64 two(struct xdp_md *ctx, struct scratch *s, __u64 position, bool *good)
{
	struct pair *pair;

	*good = position + 2 <= s->length && (pair = AT(ctx, struct pair, inside(s, position)));
	return *good ? be16(pair->byte) : 0;
}

INLINE __u64 nonzero(__u64 number)
{
	number |= -number;
	asm("%0 >>= 63" : "+r"(number));
	return number;
}

struct quad { __u8 byte[4]; };

INLINE void walk_extensions(struct xdp_md *ctx, struct scratch *s)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < 24; i++) {
		__u64 position = s->position, kind, length, other, slot;
		struct quad *header = AT(ctx, struct quad, inside(s, position));

		if (!header)
			return;
		kind = be16(header->byte);
		length = be16(header->byte + 2);
		s->position = position + 4 + length;
		if (s->position > s->want)
			return;
		other = nonzero(kind);
		slot = other + (other & nonzero(kind ^ 16));
		s->extensions[slot][0] = position;
		s->extensions[slot][1] = length;
	}
}

INLINE __u64 window(struct xdp_md *ctx, struct scratch *s, __u64 blocks, __u64 position, __u64 length)
{
	__u64 skew = position % 4;

	fetch(ctx, s, blocks, inside(s, position - skew), length + skew, s->window);
	return skew;
}

INLINE void alpn(struct xdp_md *ctx, struct scratch *s)
{
	__u64 position = s->extensions[1][0], bytes = s->extensions[1][1], skew;
	struct pair *list = AT(ctx, struct pair, inside(s, position + 4));
	volatile __u16 *length = &s->record.tls.alpn_length;

	*length = 0;
	if (list && be16(list->byte) + 2 <= bytes)
		*length = least(be16(list->byte), 64);
	skew = window(ctx, s, 5, position + 6, *length);
#pragma clang loop unroll(disable)
	for (int i = 0; i < 8; i++) {
		__u64 bytes = *length, rest = bytes > 8 * i ? least(bytes - 8 * i, 8) : 0;

		s->record.tls.alpn[i] = word(s, skew, i) & lowest(rest);
	}
}

struct names { __u8 byte[5]; };

INLINE __u64 name(struct xdp_md *ctx, struct scratch *s)
{
	__u64 position = s->extensions[0][0], bytes = s->extensions[0][1], skew;
	struct names *list = AT(ctx, struct names, inside(s, position + 4));
	volatile __u32 *length = &s->record.tls.name_length;

	*length = 0;
	if (list && !list->byte[2] && be16(list->byte + 3) + 5 <= bytes)
		*length = least(be16(list->byte + 3), 256);
	skew = window(ctx, s, 17, position + 9, *length);
#pragma clang loop unroll(disable)
	for (int i = 0; i < 32; i++) {
		if (8 * i >= *length)
			break;
		s->record.tls.name[i] = word(s, skew, i);
	}
	return *length & 0x1ff;
}

struct start { __u8 byte[44]; };

INLINE __u64 hello(struct xdp_md *ctx, struct scratch *s)
{
	struct start *start = AT(ctx, struct start, inside(s, 0));
	__u64 ciphers, compression, extensions, bytes;
	__u8 *methods;
	bool good;

	if (!start || s->length <= 43 || start->byte[0] != 22 || start->byte[1] != 3 || start->byte[5] != 1)
		return 0;
	s->record.tls.version = be16(start->byte + 9);
	clear((void *)s->extensions, 3);
	ciphers = 44 + start->byte[43];
	compression = ciphers + 2 + two(ctx, s, ciphers, &good);
	if (!good || compression + 1 > s->length)
		return 0;
	methods = AT(ctx, __u8, inside(s, compression));
	if (!methods)
		return 0;
	extensions = compression + 1 + *methods;
	bytes = two(ctx, s, extensions, &good);
	if (good) {
		s->position = extensions + 2;
		s->want = least(extensions + 2 + bytes, s->length);
		walk_extensions(ctx, s);
	}
	alpn(ctx, s);
	return __builtin_offsetof(struct tls, name) + name(ctx, s);
}

SEC("xdp")
int tls(struct xdp_md *ctx)
{
	struct scratch *s = get();

	return s ? tell(ctx, s, 18, hello(ctx, s)) : XDP_PASS;
}
