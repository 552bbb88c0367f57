// Functions of the kernel that take what is on the stack: an iterator, a dynptr.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

SEC("tp/syscalls/sys_enter_getpgid")
int iterated(void *ctx)
{
	struct bpf_iter_num it;
	volatile __u64 kept[3] = {};
	int *number, sum = 0;

	bpf_iter_num_new(&it, 0, 10);
	while ((number = bpf_iter_num_next(&it)))
		sum += *number + kept[1];
	bpf_iter_num_destroy(&it);
	return sum;
}

SEC("tp/syscalls/sys_enter_getpgid")
int dynamic(void *ctx)
{
	struct bpf_dynptr ptr;
	char bytes[24] = {};

	if (bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &ptr)) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 1;
	}
	bpf_get_current_comm(bytes, 16);
	bpf_dynptr_write(&ptr, 8, bytes, sizeof(bytes), 0);
	bpf_dynptr_read(bytes, 8, &ptr, 16, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return bytes[0];
}

char LICENSE[] SEC("license") = "GPL";
