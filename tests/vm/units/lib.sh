# Sourced by its neighbours, in the guest: what is asked, one line each, and an end at the first that does not hold.
# shellcheck shell=bash disable=SC2034

set -euo pipefail
live=/sys/fs/bpf/bpfboot/live

fail() {
    echo "FAILED $*"
    systemctl status --no-pager --full 'bpfboot*' || :
    journalctl -b --no-pager -o short-monotonic | grep -iE 'bpf|sh\[' | tail -n 40
    exit 1
}
# is WHAT IS SHOULD, has WHAT TEXT PART, holds WHAT COMMAND...
is() { [[ $2 == "$3" ]] && echo "ok $1: $3" || fail "$1: is '$2', not '$3'"; }
has() { [[ $2 == *"$3"* ]] && echo "ok $1: $3" || fail "$1: '$3' is not in '$2'"; }
holds() {
    local what=$1 said
    shift
    said=$("$@" 2>&1) && echo "ok $what" || fail "$what: $*: $said"
}

# value PROPERTY UNIT
value() { systemctl show --value -p "$1" "$2"; }
# before UNIT TARGET: the unit was done before the target was reached.
before() {
    local done reached
    done=$(value ActiveEnterTimestampMonotonic "$1") reached=$(value ActiveEnterTimestampMonotonic "$2")
    ((done > 0 && done <= reached)) && echo "ok $1 before $2" || fail "$1 at $done, $2 at $reached"
}
# id PIN: the kernel's id of a program.
id() { bpftool -j prog show pinned "$live/$1" | sed 's/.*"id":\([0-9]*\).*/\1/'; }
healthy() { holds "bpfboot check" bpfboot --quiet check; }
