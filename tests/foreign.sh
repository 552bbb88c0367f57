#!/bin/bash
# Runs every BPF object of a directory through `bpfboot apply` with a configuration of two lines, each in a mount and
# network namespace of its own, and prints one line for each: exit code, pins left, object, and what failed or came up.
#
# usage: tests/foreign.sh DIRECTORY [BPFBOOT]      (as root; the objects must not be writable by others)
set -euo pipefail
directory=$(realpath "${1:?usage: tests/foreign.sh DIRECTORY [BPFBOOT]}")
bpfboot=$(realpath "${2:-$(dirname "$0")/../target/bpfboot}")

try() {
    mount -t bpf bpf /sys/fs/bpf
    mount -t tmpfs tmpfs /run
    mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
    ip link set lo up
    printf '[object.foreign]\npath = "%s"\n' "$2" >/run/foreign.toml
    local code=0 said pins
    said=$(timeout 60 "$1" --color never --config /run/foreign.toml apply 2>&1) || code=$?
    pins=$(find /sys/fs/bpf/bpfboot -type f 2>/dev/null | wc -l)
    printf '%s %2s pins %s: ' "$code" "$pins" "$(basename "$2")"
    grep -m1 '^  why: ' <<<"$said" || grep '^bpfboot apply: ' <<<"$said" || tail -n1 <<<"$said"
}
export -f try

for object in "$directory"/*.o; do
    unshare --mount --net bash -c 'try "$@"' try "$bpfboot" "$object"
done
