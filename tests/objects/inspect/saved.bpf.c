// Registers saved right before a call and got back right behind it: around bpf_get_smp_processor_id() (8), which is written
// in line, the kernel takes both out, and the stack for it; around others (5, 7) it does not.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(name, body) \
	SEC("tc") __attribute__((naked)) int name(struct __sk_buff *skb) \
	{ \
		asm volatile("r1 = 1; r2 = 2; *(u64 *)(r10 - 8) = r1;" body "r0 = r2; r0 &= 1; exit;" ::: "r0"); \
	}
#define SAVE "*(u64 *)(r10 - 16) = r1; *(u64 *)(r10 - 24) = r2;"
#define BACK "r2 = *(u64 *)(r10 - 24); r1 = *(u64 *)(r10 - 16);"
#define ONE(call) "*(u64 *)(r10 - 24) = r2; call " #call "; r2 = *(u64 *)(r10 - 24);"

PROGRAM(in_line, SAVE "call 8;" BACK)
PROGRAM(not_in_line, SAVE "call 7;" BACK)
PROGRAM(twice, SAVE "call 8;" BACK ONE(8))
PROGRAM(mixed, SAVE "call 8;" BACK ONE(5))
PROGRAM(touched, "*(u32 *)(r10 - 20) = r1;" SAVE "call 8;" BACK)
PROGRAM(out_of_order, "*(u64 *)(r10 - 24) = r1; *(u64 *)(r10 - 16) = r2; call 8;"
	"r2 = *(u64 *)(r10 - 16); r1 = *(u64 *)(r10 - 24);")
PROGRAM(not_lowest, "*(u64 *)(r10 - 32) = r1;" SAVE "call 8;" BACK)

char LICENSE[] SEC("license") = "GPL";
