// The twin of ebpf/src/edge in C, function by function, for benches/edge.sh. What and why stand there.
#include "edge/maps.h"
#include "edge/packet.h"
#include "edge/parse.h"
#include "edge/flow.h"
#include "edge/programs.h"
#include "edge/http.h"
#include "edge/dns.h"
#include "edge/tls.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
