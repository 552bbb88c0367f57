#define WORDS 2
#include "table_64.bpf.c"
