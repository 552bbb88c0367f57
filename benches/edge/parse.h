// From Ethernet to TCP, UDP and ICMP.

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
