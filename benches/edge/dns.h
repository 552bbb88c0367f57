// DNS.

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
