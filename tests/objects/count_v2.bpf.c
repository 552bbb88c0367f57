#define SLOT 1
#include "count_v1.bpf.c"
