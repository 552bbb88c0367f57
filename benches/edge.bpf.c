// The twin of ebpf/src/edge in C, function by function, for benches/edge.sh. What and why stand there.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <stdbool.h>

#define INLINE static __always_inline
#define MAP(kind, entries, k, v, flags, name) \
	struct { __uint(type, kind); __uint(max_entries, entries); __uint(map_flags, flags); \
		__type(key, k); __type(value, v); } name SEC(".maps")

struct header { __u64 time; __u32 kind, size; };
struct flow {
	__u32 source[4], destination[4];
	__u16 source_port, destination_port;
	__u32 interface;
	__u8 version, protocol;
	__u16 vlan;
	__u32 reserved;
};
struct http { struct header header; struct flow flow; __u64 method, host[8], path[16]; };
struct dns { struct header header; struct flow flow; __u16 id, qtype; __u32 length; __u8 name[256]; };
struct tls {
	struct header header; struct flow flow; __u16 version, alpn_length; __u32 name_length;
	__u64 alpn[8], name[32];
};
union record { struct { struct header header; struct flow flow; }; struct http http; struct dns dns; struct tls tls; };
struct scratch {
	union record record;
	__u64 window[82];
	volatile __u32 class, verdict, next, end, payload, length, sequence, ports, fragment, want, position, name_length;
	volatile __u32 extensions[3][2];
};
struct connection { __u64 packets, bytes, first, last; };
struct told { __u32 sequence, kind; };
struct stats { __u64 packets, bytes, dropped; };
struct source { __u64 address[2], version; };
struct key4 { __u32 bits, address; };
struct key6 { __u32 bits, address[4]; };

MAP(BPF_MAP_TYPE_HASH, 16384, struct flow, struct connection, 0, connections);
MAP(BPF_MAP_TYPE_LRU_HASH, 8192, struct flow, struct told, 0, flow_cache);
MAP(BPF_MAP_TYPE_PERCPU_HASH, 256, __u32, struct stats, 0, cpu_stats);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 32, __u32, __u64, 0, counters);
MAP(BPF_MAP_TYPE_LPM_TRIE, 16384, struct key4, __u32, BPF_F_NO_PREALLOC, deny);
MAP(BPF_MAP_TYPE_LPM_TRIE, 16384, struct key6, __u32, BPF_F_NO_PREALLOC, deny6);
MAP(BPF_MAP_TYPE_LRU_HASH, 8192, struct source, __u64, 0, limits);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, __u64, 0, drops);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct scratch, 0, scratch);
MAP(BPF_MAP_TYPE_PROG_ARRAY, 8, __u32, __u32, 0, dispatch);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); } events SEC(".maps");

const volatile __u32 limit_rate = 0, limit_burst = 100;

enum { PACKETS, BYTES, VERDICTS, MALFORMED = 20, FRAGMENTS, TOO_DEEP, MISSING, FULL, REPEATED, UNFIT, POINTERS, HTTP };
enum { PASS, DENIED, LIMITED };

// --- Maps -------------------------------------------------------------------------------------

INLINE struct scratch *get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

INLINE void count(__u32 index, __u64 amount)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter)
		*counter += amount;
}

INLINE bool send(struct scratch *s, __u64 size)
{
	__u32 zero = 0;
	__u64 *dropped;

	if (size > sizeof(s->record))
		return false;
	if (!bpf_ringbuf_output(&events, s, size, 0))
		return true;
	dropped = bpf_map_lookup_elem(&drops, &zero);
	if (dropped)
		*dropped += 1;
	return false;
}

// --- Packets ----------------------------------------------------------------------------------

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

// --- Headers ----------------------------------------------------------------------------------

struct ethernet { __u16 half[7]; };
struct tag { __u16 tag, kind; };
struct ipv4 {
	__u8 version_and_words, service; __u16 length, id, fragment; __u8 hops, protocol;
	__u16 checksum; __u32 source, destination;
};
struct ipv6 { __u8 version, label[3]; __u16 length; __u8 next, hops; __u32 source[4], destination[4]; };
struct extension { __u8 next, length; __u16 fragment; __u32 rest; };
struct tcp {
	__u16 source, destination; __u32 sequence, acknowledged; __u8 words, flags;
	__u16 window, checksum, urgent;
};
struct udp { __u16 source, destination, length, checksum; };

INLINE bool tagged(__u16 kind) { return kind == 0x8100 || kind == 0x88a8 || kind == 0x9100; }

INLINE bool ethernet(struct xdp_md *ctx, struct scratch *s, __u16 *kind)
{
	struct ethernet *header = AT(ctx, struct ethernet, 0);
	struct tag *tag;

	if (!header)
		return false;
	*kind = bpf_ntohs(header->half[6]);
	s->next = 14;
	if (!tagged(*kind))
		return true;
	tag = AT(ctx, struct tag, 14);
	if (!tag)
		return false;
	s->record.flow.vlan = bpf_ntohs(tag->tag) & 0xfff;
	s->next = 18;
	*kind = bpf_ntohs(tag->kind);
	if (!tagged(*kind))
		return true;
	tag = AT(ctx, struct tag, 18);
	if (!tag)
		return false;
	s->next = 22;
	*kind = bpf_ntohs(tag->kind);
	return true;
}

INLINE void fragmented(struct scratch *s, bool later)
{
	s->fragment = 1 + later;
	count(FRAGMENTS, 1);
}

INLINE bool ipv4(struct xdp_md *ctx, struct scratch *s)
{
	__u64 start = offset(s->next), bytes, length;
	struct ipv4 *ip = AT(ctx, struct ipv4, start);
	__u16 fragment;

	if (!ip)
		return false;
	bytes = (ip->version_and_words & 15) * 4;
	if (ip->version_and_words >> 4 != 4 || bytes < 20)
		return false;
	s->record.flow.version = 4;
	s->record.flow.protocol = ip->protocol;
	s->record.flow.source[0] = ip->source;
	s->record.flow.destination[0] = ip->destination;
	s->class = 1;
	s->next = start + bytes;
	fragment = bpf_ntohs(ip->fragment) & 0x3fff;
	length = bpf_ntohs(ip->length);
	if (fragment)
		fragmented(s, fragment & 0x1fff);
	if (length < bytes)
		return false;
	s->end = start + length;
	return start + length <= ctx->data_end - ctx->data;
}

INLINE bool extends(__u8 header) { return header == 0 || header == 43 || header == 44 || header == 51 || header == 60; }

INLINE bool chain(struct xdp_md *ctx, struct scratch *s)
{
	volatile __u8 *protocol = &s->record.flow.protocol;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 6; i++) {
		__u8 header = *protocol;
		struct extension *extension;
		__u64 start, bytes;

		if (!extends(header))
			return true;
		start = offset(s->next);
		extension = AT(ctx, struct extension, start);
		if (!extension)
			return false;
		if (header == 51 && !extension->length)
			return false;
		bytes = header == 44 ? 8 : header == 51 ? extension->length * 4 + 8 : extension->length * 8 + 8;
		*protocol = extension->next;
		s->next = start + bytes;
		if (s->next > s->end)
			return false;
		if (header == 44) {
			__u16 fragment = bpf_ntohs(extension->fragment);

			if (fragment & 0xfff9)
				fragmented(s, fragment & 0xfff8);
			if (fragment & 0xfff8)
				return true;
		}
	}
	if (extends(*protocol))
		count(TOO_DEEP, 1);
	return true;
}

INLINE bool ipv6(struct xdp_md *ctx, struct scratch *s)
{
	__u64 start = offset(s->next), length;
	struct ipv6 *ip = AT(ctx, struct ipv6, start);

	if (!ip || ip->version >> 4 != 6)
		return false;
	s->record.flow.version = 6;
	s->record.flow.protocol = ip->next;
	words(ip->source, s->record.flow.source);
	words(ip->destination, s->record.flow.destination);
	s->class = 1;
	s->next = start + 40;
	length = bpf_ntohs(ip->length);
	s->end = length ? start + 40 + length : ctx->data_end - ctx->data;
	if (length && start + 40 + length > ctx->data_end - ctx->data)
		return false;
	return chain(ctx, s);
}

INLINE bool transport(struct xdp_md *ctx, struct scratch *s)
{
	__u8 protocol = *(volatile __u8 *)&s->record.flow.protocol;
	__u64 start, room, header = 8, bytes;
	__u16 source, destination;
	__u32 fragment;

	if (protocol != 6 && protocol != 17 && protocol != 1 && protocol != 58)
		return true;
	s->class = protocol == 6 ? 2 : protocol == 17 ? 3 : protocol == 1 ? 4 : 5;
	fragment = s->fragment;
	if (fragment == 2)
		return true;
	start = offset(s->next);
	room = s->end;
	if (room < start)
		return false;
	room -= start;
	if (protocol == 6) {
		struct tcp *tcp = AT(ctx, struct tcp, start);

		if (!tcp)
			return false;
		s->sequence = bpf_ntohl(tcp->sequence);
		header = (tcp->words >> 4) * 4;
		if (header < 20)
			return false;
		source = tcp->source;
		destination = tcp->destination;
		bytes = room;
	} else if (protocol == 17) {
		struct udp *udp = AT(ctx, struct udp, start);

		if (!udp)
			return false;
		source = udp->source;
		destination = udp->destination;
		bytes = fragment ? room : bpf_ntohs(udp->length);
	} else {
		return room >= 8;
	}
	if (header > bytes || bytes > room)
		return false;
	s->record.flow.source_port = bpf_ntohs(source);
	s->record.flow.destination_port = bpf_ntohs(destination);
	s->ports = 1;
	s->payload = start + header;
	s->length = bytes - header;
	return true;
}

INLINE bool read_headers(struct xdp_md *ctx, struct scratch *s)
{
	__u16 kind;

	if (!ethernet(ctx, s, &kind))
		return false;
	if (kind == 0x0800) {
		if (!ipv4(ctx, s))
			return false;
	} else if (kind == 0x86dd) {
		if (!ipv6(ctx, s))
			return false;
	} else {
		if (tagged(kind))
			count(TOO_DEEP, 1);
		return true;
	}
	return transport(ctx, s);
}

INLINE void headers(struct xdp_md *ctx, struct scratch *s)
{
	clear(&s->record.flow, 6);
	s->record.flow.interface = ctx->ingress_ifindex;
	s->class = 0;
	s->ports = 0;
	s->fragment = 0;
	s->length = 0;
	if (!read_headers(ctx, s))
		count(MALFORMED, 1);
}

// --- Verdicts, flows --------------------------------------------------------------------------

INLINE bool denied(struct scratch *s)
{
	struct flow *flow = &s->record.flow;

	switch (*(volatile __u8 *)&flow->version) {
	case 4: {
		struct key4 key = { 32, flow->source[0] };

		return bpf_map_lookup_elem(&deny, &key);
	}
	case 6: {
		struct key6 key = { 128, { flow->source[0], flow->source[1], flow->source[2], flow->source[3] } };

		return bpf_map_lookup_elem(&deny6, &key);
	}
	}
	return false;
}

INLINE bool exceeded(struct scratch *s)
{
	__u64 rate = limit_rate, burst = limit_burst, now, token, next, *full;
	struct source source;

	source.version = *(volatile __u8 *)&s->record.flow.version;
	if (!rate || !source.version)
		return false;
	now = bpf_ktime_get_ns();
	source.address[0] = ((__u64 *)s->record.flow.source)[0];
	source.address[1] = ((__u64 *)s->record.flow.source)[1];
	token = 1000000000 / rate;
	full = bpf_map_lookup_elem(&limits, &source);
	if (full) {
		next = *(volatile __u64 *)full;
		next = (next > now ? next : now) + token;
		if (next - now > token * burst)
			return true;
		*full = next;
		return false;
	}
	next = now + token;
	bpf_map_update_elem(&limits, &source, &next, 0);
	return !burst;
}

INLINE void account(struct xdp_md *ctx, struct scratch *s, __u32 verdict)
{
	struct stats *stats, new = { 1, ctx->data_end - ctx->data, verdict != 0 };

	count(PACKETS, 1);
	count(BYTES, new.bytes);
	count(VERDICTS + s->class * 3 + verdict, 1);
	stats = bpf_map_lookup_elem(&cpu_stats, &s->record.flow.interface);
	if (stats) {
		stats->packets += 1;
		stats->bytes += new.bytes;
		stats->dropped += new.dropped;
	} else {
		bpf_map_update_elem(&cpu_stats, &s->record.flow.interface, &new, BPF_ANY);
	}
}

INLINE void connect(struct scratch *s)
{
	struct connection *connection, new = { 1, s->length };

	new.first = new.last = bpf_ktime_get_ns();
	connection = bpf_map_lookup_elem(&connections, &s->record.flow);
	if (connection) {
		__sync_fetch_and_add(&connection->packets, 1);
		__sync_fetch_and_add(&connection->bytes, new.bytes);
		connection->last = new.last;
	} else if (bpf_map_update_elem(&connections, &s->record.flow, &new, BPF_NOEXIST)) {
		count(FULL, 1);
	}
}

INLINE int follow(struct scratch *s)
{
	struct flow *flow = &s->record.flow;
	struct told *told;
	int handler;

	if (!s->ports)
		return -1;
	connect(s);
	if (!s->length || s->fragment)
		return -1;
	if (flow->protocol == 17)
		return flow->destination_port == 53 ? 1 : -1;
	switch (flow->destination_port) {
	case 80:
	case 8080:
		handler = 0;
		break;
	case 443:
	case 8443:
		handler = 2;
		break;
	default:
		return -1;
	}
	told = bpf_map_lookup_elem(&flow_cache, flow);
	if (told && told->sequence == s->sequence) {
		count(REPEATED, 1);
		return -1;
	}
	return handler;
}

// --- Programs ---------------------------------------------------------------------------------

INLINE int jump(struct xdp_md *ctx, __u32 handler)
{
	bpf_tail_call(ctx, &dispatch, handler);
	count(MISSING, 1);
	return XDP_PASS;
}

SEC("xdp")
int xdp_main(struct xdp_md *ctx)
{
	struct scratch *s = get();
	__u32 verdict;
	int handler;

	if (!s)
		return XDP_PASS;
	headers(ctx, s);
	s->verdict = denied(s) ? DENIED : exceeded(s) ? LIMITED : PASS;
	verdict = s->verdict;
	account(ctx, s, verdict);
	if (verdict != PASS)
		return XDP_DROP;
	handler = follow(s);
	return handler < 0 ? XDP_PASS : jump(ctx, handler);
}

INLINE int tell(struct xdp_md *ctx, struct scratch *s, __u32 kind, __u64 size)
{
	if (!size) {
		count(UNFIT, 1);
		return XDP_PASS;
	}
	s->record.header.kind = kind;
	s->record.header.size = size;
	return jump(ctx, 3);
}

SEC("xdp")
int log_event(struct xdp_md *ctx)
{
	struct scratch *s = get();
	__u32 kind;

	if (!s)
		return XDP_PASS;
	s->record.header.time = bpf_ktime_get_ns();
	kind = *(volatile __u32 *)&s->record.header.kind;
	if (send(s, *(volatile __u32 *)&s->record.header.size)) {
		count(HTTP + ((kind - 16) & 3), 1);
		if (s->record.flow.protocol == 6) {
			struct told told = { s->sequence, kind };

			bpf_map_update_elem(&flow_cache, &s->record.flow, &told, BPF_ANY);
		}
	}
	return XDP_PASS;
}

// --- Texts ------------------------------------------------------------------------------------

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

INLINE __u64 walk_labels(struct scratch *s)
{
	__u64 position = 0, label, length;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 128; i++) {
		__u64 index = position;

		asm("%0 &= 255" : "+r"(index));
		label = s->record.dns.name[index];
		position += 1 + label;
		if (label - 1 > 62) {
			s->position = position - label;
			s->name_length = label;
			break;
		}
	}
	length = s->position;
	label = s->name_length;
	if (!length || length > 255 || length + 12 > s->length)
		return 0;
	if (label >= 0xc0)
		count(POINTERS, 1);
	return label ? 0 : length & 0xff;
}

struct question { __u16 id, flags, questions, rest[3]; };
struct pair { __u8 byte[2]; };

INLINE __u64 question(struct xdp_md *ctx, struct scratch *s)
{
	__u64 length = s->length, from = offset(s->payload), end;
	struct question *header;
	struct pair *kind;

	if (length < 12)
		return 0;
	header = AT(ctx, struct question, from);
	if (!header || bpf_ntohs(header->flags) & 0xf800 || !header->questions)
		return 0;
	s->record.dns.id = bpf_ntohs(header->id);
	fetch(ctx, s, 16, from + 12, length - 12, s->record.dns.name);
	s->position = 0;
	end = walk_labels(s);
	if (!end || end + 16 > s->length)
		return 0;
	kind = AT(ctx, struct pair, inside(s, 12 + end));
	if (!kind)
		return 0;
	s->record.dns.qtype = be16(kind->byte);
	s->record.dns.length = end;
	return __builtin_offsetof(struct dns, name) + end;
}

SEC("xdp")
int dns(struct xdp_md *ctx)
{
	struct scratch *s = get();

	return s ? tell(ctx, s, 17, question(ctx, s)) : XDP_PASS;
}

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

char LICENSE[] SEC("license") = "Dual MIT/GPL";
