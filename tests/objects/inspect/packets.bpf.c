// What XDP and tc programs do all day: headers, a flow's key on the stack, counters, an event.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__u8 from[16], to[16];
	__u16 ports[2];
	__u8 protocol;
	__u8 pad[3];
};

struct count {
	__u64 packets, bytes, last;
};

struct event {
	struct flow flow;
	__u64 when;
	__u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct count);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

static __attribute__((noinline)) int ports_of(void *at, void *end, __u8 protocol, struct flow *flow)
{
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end)
			return -1;
		flow->ports[0] = tcp->source;
		flow->ports[1] = tcp->dest;
	} else if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;

		if ((void *)(udp + 1) > end)
			return -1;
		flow->ports[0] = udp->source;
		flow->ports[1] = udp->dest;
	}
	flow->protocol = protocol;
	return 0;
}

static __always_inline int parse(void *data, void *end, struct flow *flow)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(flow->from, &ip->saddr, 4);
		__builtin_memcpy(flow->to, &ip->daddr, 4);
		return ports_of((void *)ip + sizeof(*ip), end, ip->protocol, flow);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(flow->from, &ip->saddr, 16);
		__builtin_memcpy(flow->to, &ip->daddr, 16);
		return ports_of(ip + 1, end, ip->nexthdr, flow);
	}
	return -1;
}

static __always_inline void count(struct flow *flow, __u64 length)
{
	struct count *count = bpf_map_lookup_elem(&flows, flow);

	if (count) {
		__sync_fetch_and_add(&count->packets, 1);
		__sync_fetch_and_add(&count->bytes, length);
		count->last = bpf_ktime_get_ns();
	} else {
		struct count first = { 1, length, bpf_ktime_get_ns() };

		bpf_map_update_elem(&flows, flow, &first, BPF_NOEXIST);
	}
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct flow flow = {};

	if (parse(data, end, &flow))
		return XDP_PASS;
	count(&flow, end - data);
	return XDP_PASS;
}

SEC("xdp")
int told(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct event event = { .when = bpf_ktime_get_ns(), .length = end - data };

	if (parse(data, end, &event.flow))
		return XDP_PASS;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return XDP_PASS;
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	struct ethhdr eth;
	struct iphdr ip;
	struct event *event;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) || bpf_skb_load_bytes(skb, sizeof(eth), &ip, sizeof(ip)))
		return 0;
	event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	__builtin_memcpy(event->flow.from, &ip.saddr, 4);
	event->length = skb->len;
	bpf_ringbuf_submit(event, 0);
	if (eth.h_source[0] & 1) {
		__be32 old = ip.saddr, new = bpf_htonl(0x0a000001);
		__s64 sum = bpf_csum_diff(&old, 4, &new, 4, 0);

		bpf_l3_csum_replace(skb, sizeof(eth) + 10, 0, sum, 0);
		bpf_skb_store_bytes(skb, sizeof(eth) + 12, &new, 4, 0);
	}
	return 0;
}

SEC("socket")
int on_socket(struct __sk_buff *skb)
{
	volatile __u32 kept = skb->len;

	return kept > 60 ? -1 : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
