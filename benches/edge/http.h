// Looking for bytes, and HTTP.

#define ONES 0x0101010101010101ull
#define TOPS (ONES * 0x80)

INLINE __u64 blanks(__u64 word) { return (word - ONES * 0x21) & ~word & TOPS; }
INLINE __u64 lowest_top(__u64 tops) { return (tops & -tops) >> 7; }
INLINE __u64 first(__u64 tops) { return (lowest_top(tops) * 0x0001020304050607ull >> 56) & 7; }
INLINE __u64 lowest(__u64 bytes) { return ~(~0ull << 4 * bytes << 4 * bytes); }

INLINE __u64 newlines(__u64 word)
{
	word ^= ONES * '\n';
	return (word - ONES) & ~word & TOPS;
}

INLINE __u64 word(struct scratch *s, __u64 position, int words)
{
	__u64 *at = &s->window[position >> 3 & 63] + words, shift = position % 8 * 8;

	return at[0] >> shift | at[1] << 1 << (63 - shift);
}

#define B(c, n) ((__u64)(c) << 8 * (n))
#define WORD(a, b, c, d, e, f, g) (a | B(b, 1) | B(c, 2) | B(d, 3) | B(e, 4) | B(f, 5) | B(g, 6))

INLINE __u64 target(struct scratch *s)
{
	__u64 start = s->position & 15;

	s->name_length = 128;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 16; i++) {
		__u64 part = word(s, start, i), blank = blanks(part);

		s->record.http.path[i] = part;
		if (blank) {
			s->name_length = 8 * i + first(blank);
			break;
		}
	}
	return s->name_length & 0xff;
}

INLINE void host(struct scratch *s)
{
	__u64 *host = s->record.http.host, start, position;
	bool found = false;

	clear(host, 8);
	s->position = s->name_length * 8;
	s->want *= 8;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 64; i++) {
		__u64 *at, skip, line;

		position = s->position;
		if (position >= s->want)
			break;
		at = &s->window[position >> 6 & 63];
		skip = 8 * first((newlines(*at) & ~0ull << (position & 63)) | 1ull << 63);
		s->position = (position & ~63ull) + skip + 8;
		line = *at >> skip | at[1] << 1 << (63 - skip);
		found = ((line | 0x202020202000ull) & lowest(6)) == WORD('\n', 'h', 'o', 's', 't', ':', 0);
		if (found || (line & 0xffff) == WORD('\n', '\r', 0, 0, 0, 0, 0))
			break;
	}
	if (!found)
		return;
	s->want /= 8;
	position = s->position / 8;
	s->position = position + 5 + ((word(s, position + 5, 0) & 0xff) == ' ');
	start = s->position;
	s->position = 64;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 8; i++) {
		__u64 part = word(s, start, i), blank = blanks(part);

		if (blank) {
			host[i] = part & (lowest_top(blank) - 1);
			s->position = 8 * i + first(blank);
			break;
		}
		host[i] = part;
	}
	if (start + s->position >= s->want)
		clear(host, 8);
}

INLINE __u64 request(struct xdp_md *ctx, struct scratch *s)
{
	__u64 start, blank, name, length;

	fetch(ctx, s, 32, offset(s->payload), s->length, s->window);
	start = s->window[0];
	blank = blanks(start);
	name = start & (lowest_top(blank) - 1);
	if (!blank || (start >> first(blank) * 8 & 0xff) != ' ' ||
	    !(name == WORD('G', 'E', 'T', 0, 0, 0, 0) || name == WORD('P', 'O', 'S', 'T', 0, 0, 0) ||
	      name == WORD('H', 'E', 'A', 'D', 0, 0, 0) || name == WORD('P', 'U', 'T', 0, 0, 0, 0) ||
	      name == WORD('C', 'O', 'N', 'N', 'E', 'C', 'T') || name == WORD('D', 'E', 'L', 'E', 'T', 'E', 0) ||
	      name == WORD('O', 'P', 'T', 'I', 'O', 'N', 'S') || name == WORD('P', 'A', 'T', 'C', 'H', 0, 0) ||
	      name == WORD('T', 'R', 'A', 'C', 'E', 0, 0)))
		return 0;
	s->record.http.method = name;
	s->position = first(blank) + 1;
	length = target(s);
	if (!length)
		return 0;
	host(s);
	return __builtin_offsetof(struct http, path) + length;
}

SEC("xdp")
int http(struct xdp_md *ctx)
{
	struct scratch *s = get();

	return s ? tell(ctx, s, 16, request(ctx, s)) : XDP_PASS;
}
