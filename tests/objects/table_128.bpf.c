#define ENTRIES 128
#include "table_64.bpf.c"
