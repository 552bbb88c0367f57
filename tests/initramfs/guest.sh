# shellcheck shell=sh
# Runs in the guest, as the first lines of each test's script. What it prints under a heading, the test reads.
exec >/dev/ttyS1 2>&1 </dev/null
about() { printf '== %s\n' "$1"; shift; "$@"; }
counter() { bpftool -j map dump pinned "/sys/fs/bpf/bpfboot/live/$1"; }
off() { about end echo VM-EXIT 0; systemctl poweroff --force --force; }
