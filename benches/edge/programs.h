// The entry, and the end.

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
