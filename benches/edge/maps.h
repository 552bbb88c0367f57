// The maps, and what stands in them.
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
