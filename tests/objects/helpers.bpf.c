// Each program calls something that came with another kernel.
#include <linux/bpf.h>
#include <linux/version.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

static long turn(__u32 index, void *ctx)
{
	return 0;
}

static long each(void *map, void *key, void *value, void *ctx)
{
	return 0;
}

static __noinline int inner(int n)
{
	return n + bpf_get_prandom_u32();
}

SEC("xdp") int h_boot(struct xdp_md *ctx) { return bpf_ktime_get_boot_ns() ? XDP_PASS : XDP_DROP; }
SEC("xdp") int h_coarse(struct xdp_md *ctx) { return bpf_ktime_get_coarse_ns() ? XDP_PASS : XDP_DROP; }
SEC("xdp") int h_tai(struct xdp_md *ctx) { return bpf_ktime_get_tai_ns() ? XDP_PASS : XDP_DROP; }
SEC("xdp") int h_loop(struct xdp_md *ctx) { bpf_loop(4, turn, 0, 0); return XDP_PASS; }
SEC("xdp") int h_each(struct xdp_md *ctx) { bpf_for_each_map_elem(&table, each, 0, 0); return XDP_PASS; }
SEC("xdp") int h_strncmp(struct xdp_md *ctx) { char a[4] = "abc"; return bpf_strncmp(a, 4, "abc") ? XDP_DROP : XDP_PASS; }
SEC("xdp") int h_length(struct xdp_md *ctx) { return bpf_xdp_get_buff_len(ctx) ? XDP_PASS : XDP_DROP; }
SEC("xdp") int h_mtu(struct xdp_md *ctx) { __u32 mtu = 0; bpf_check_mtu(ctx, 0, &mtu, 0, 0); return XDP_PASS; }
SEC("xdp") int h_function(struct xdp_md *ctx) { return inner(ctx->rx_queue_index) ? XDP_PASS : XDP_DROP; }

SEC("xdp")
int h_bounded(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *number = bpf_map_lookup_elem(&numbers, &key);

	for (int i = 0; number && i < 100; i++)
		*number += bpf_get_prandom_u32();
	return XDP_PASS;
}

// `lock *(u64 *)(r10 - 8) |= r2`, which gives what was there: clang makes it for newer processors only.
SEC("xdp")
int h_atomic(struct xdp_md *ctx)
{
	asm volatile("r2 = 1; *(u64 *)(r10 - 8) = r2; .8byte 0x00000041fff82adb;" ::: "r2", "memory");
	return XDP_PASS;
}

// What no kernel runs that lacks it.
SEC("xdp")
int h_guarded(struct xdp_md *ctx)
{
	if (LINUX_KERNEL_VERSION >= KERNEL_VERSION(6, 1, 0))
		return bpf_ktime_get_tai_ns() ? XDP_PASS : XDP_DROP;
	return XDP_PASS;
}

SEC("tc") int h_peer(struct __sk_buff *ctx) { return bpf_redirect_peer(1, 0); }
SEC("tc") int h_stamp(struct __sk_buff *ctx) { bpf_skb_set_tstamp(ctx, 1, BPF_SKB_TSTAMP_DELIVERY_MONO); return 0; }
SEC("raw_tp/sys_enter") int h_task(void *ctx) { return bpf_get_current_task_btf() != 0; }
SEC("raw_tp/sys_enter") int h_regs(void *ctx) { return bpf_task_pt_regs(bpf_get_current_task_btf()) != 0; }
SEC("raw_tp/sys_enter") int h_cgroup(void *ctx) { return bpf_get_current_cgroup_id() != 0; }
SEC("raw_tp/sys_enter") int h_stack(void *ctx) { char stack[64] = {}; return bpf_get_stack(ctx, stack, sizeof(stack), 0); }
SEC("raw_tp/sys_enter") int h_print(void *ctx) { __u64 n = 1; char to[8]; return bpf_snprintf(to, sizeof(to), "%d", &n, sizeof(n)); }
SEC("fentry/vfs_open") int h_ip(void *ctx) { bpf_get_func_ip(ctx); return 0; }
SEC("fentry/vfs_open") int h_argument(void *ctx) { __u64 n; bpf_get_func_arg(ctx, 0, &n); return 0; }

char LICENSE[] SEC("license") = "GPL";
