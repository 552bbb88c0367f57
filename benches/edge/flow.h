// Verdicts, and what is kept of flows.

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
