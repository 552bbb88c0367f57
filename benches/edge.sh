#!/bin/bash
# What a packet costs at the edge: ebpf/src/edge held against its twin in C, benches/edge.bpf.c, built by clang -O2.
# Prints one table, and fails when a bar is missed. Every figure is a ratio of two runs that follow each other, thousands
# of times the same packet (BPF_PROG_TEST_RUN), so that other load on the machine hits both.
#
# usage: benches/edge.sh [ROUNDS]      (as root)
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

. .ci/toolchain.sh
if [[ ${1:-} != --inside ]]; then
    need test
    ((EUID == 0)) || die "this loads programs into the kernel: run it as root"
    # On one CPU: the handlers find there what xdp_main left.
    exec unshare --mount --net taskset -c 0 "$0" --inside "${1:-41}"
fi
rounds=$2 most=1050

mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
cp target/ebpf/edge.bpf.o /run/rust.bpf.o
clang -g -O2 -target bpf -I"/usr/include/$(cc -print-multiarch)" -c benches/edge.bpf.c -o /run/c.bpf.o

# --- The packets --------------------------------------------------------------------------------

# packet NAME HEX...: a file of these bytes.
packet() {
    local name=$1 digits
    shift
    digits=$(printf %s "$@" | tr -d ' ')
    # shellcheck disable=SC2059
    printf "$(sed 's/../\\x&/g' <<<"$digits")" >"/run/$name"
}

hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
ethernet='020000000001 020000000002'
# ipv4 LENGTH PROTOCOL SOURCE, for what follows.
ipv4() { printf '%s 0800 4500%04x00074000 40%02x0000 %s cb007109' "$ethernet" "$1" "$2" "$3"; }
here=c6336401 denied=c0000201

packet pass "$(ipv4 36 17 $here)" 'c350 0009 0010 0000' "$(hex payload.)"
packet deny "$(ipv4 36 17 $denied)" 'c350 0009 0010 0000' "$(hex payload.)"
six="$ethernet 8100 0064 86dd 60000000 0020 00 40"
packet ipv6 "$six" 20010db8000000000000000000000001 20010db8000900000000000000000001 \
    '3c00 0502 0000 0000' '1100 0104 0000 0000' 'c350 0009 0010 0000' "$(hex payload.)"
packet dns "$(ipv4 61 17 $here)" 'c350 0035 0029 0000' '1234 0100 0001 0000 0000 0000' \
    '03 777777 07 6578616d706c65 03 6f7267 00 0001 0001'
request=$'GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n'
packet http "$(ipv4 $((40 + ${#request})) 6 $here)" '9c40 0050 00000001 00000001 5018 0100 0000 0000' "$(hex "$request")"
# A ClientHello with 12 extensions, the name and the protocols among them.
extensions='0000 0014 0012 00 000f 7777772e6578616d706c652e6f7267 0010 000e 000c 02 6832 08 687474702f312e31'
for ((n = 0; n < 10; n++)); do extensions+=" 00$((n + 20)) 0008 0102030405060708"; done
extensions=${extensions// /}
body="0303 $(printf 'aa%.0s' {1..32}) 20 $(printf 'bb%.0s' {1..32}) 0022 $(printf '13%.0s' {1..34}) 01 00"
body+=$(printf '%04x%s' $((${#extensions} / 2)) "$extensions")
body=${body// /}
hello=$(printf '160301%04x01%06x%s' $((${#body} / 2 + 4)) $((${#body} / 2)) "$body")
packet tls "$(ipv4 $((40 + ${#hello} / 2)) 6 $here)" '9c40 01bb 00000001 00000001 5018 0100 0000 0000' "$hello"

# --- The runs -----------------------------------------------------------------------------------

# load NAME: an object from scratch, with its deny list and its handlers.
load() {
    local dir=/sys/fs/bpf/$1 index=0 handler
    [[ ! -d $dir ]] || rm -r "$dir"
    mkdir "$dir"
    bpftool prog loadall "/run/$1.bpf.o" "$dir/progs" pinmaps "$dir/maps"
    bpftool map update pinned "$dir/maps/deny" key hex 18 00 00 00 c0 00 02 00 value 0 0 0 0
    for handler in http dns tls log_event; do
        bpftool map update pinned "$dir/maps/dispatch" key $index 0 0 0 value pinned "$dir/progs/$handler"
        index=$((index + 1))
    done
}

# run NAME PROGRAM PACKET REPEAT VERDICT: nanoseconds of one run in $ns.
run() {
    local said
    said=$(bpftool -j prog run pinned "/sys/fs/bpf/$1/progs/$2" data_in "/run/$3" repeat "$4")
    [[ $said =~ \"retval\":$5,.*\"duration\":([0-9]+) ]] || die "$*: $said"
    ns=${BASH_REMATCH[1]}
}

# measure NAME PATH: a path through the programs. The handlers of TCP are run on what xdp_main left of the first packet,
# since it does not tell a segment twice.
measure() {
    case $2 in
    pass | ipv6) run "$1" xdp_main "$2" 100000 2 ;;
    deny) run "$1" xdp_main deny 100000 1 ;;
    dns) run "$1" xdp_main dns 30000 2 ;;
    http | tls)
        run "$1" xdp_main "$2" 1 2
        run "$1" "$2" "$2" 20000 2
        ;;
    esac
    times[$1/$2]+=" $ns"
}

declare -A times
paths=(pass ipv6 deny dns http tls)
for ((round = 0; round < rounds; round++)); do
    load rust
    load c
    for path in "${paths[@]}"; do
        # Either goes first in its turn.
        if ((round % 2)); then order='rust c'; else order='c rust'; fi
        for name in $order; do measure "$name" "$path"; done
    done
done

# --- The table ----------------------------------------------------------------------------------

# quartile Q NUMBER...: the first, second (the median) or third.
quartile() {
    local quarter=$1 sorted
    shift
    mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
    echo "${sorted[$#*quarter / 4]}"
}

thousandths() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

missed=0
row() {
    local rust c ratios=() i median verdict=ok
    read -ra rust <<<"${times[rust/$2]}"
    read -ra c <<<"${times[c/$2]}"
    for i in "${!rust[@]}"; do ratios+=($((rust[i] * 1000 / c[i]))); done
    median=$(quartile 2 "${ratios[@]}")
    ((median <= most)) || verdict=MISSED missed=1
    printf '%-44s %7d %7d  %s  %s..%s  <= %s %s\n' "$1" "$(quartile 2 "${rust[@]}")" "$(quartile 2 "${c[@]}")" \
        "$(thousandths "$median")" "$(thousandths "$(quartile 1 "${ratios[@]}")")" \
        "$(thousandths "$(quartile 3 "${ratios[@]}")")" "$(thousandths $most)" $verdict
}

printf '%-44s %7s %7s  %-5s  %-12s  %s\n' '' 'Rust ns' 'C ns' ratio 'middle half' wanted
row 'pass: IPv4, UDP' pass
row 'pass: VLAN, IPv6, two extension headers' ipv6
row 'deny: by source' deny
row 'tail calls: a DNS question is told' dns
row 'http alone, and the event' http
row 'tls alone, and the event' tls
printf '\n%s rounds, load %s.\n' "$rounds" "$(cut -d' ' -f1 /proc/loadavg)"
exit $missed
