#!/bin/bash
# cargo.sh BINARY [ARG]...: cargo's runner for tests/guest. Runs a static test BINARY with its ARGs in a guest with the
# kernel $VM_KERNEL and the words $VM_APPEND on its command line. With $VM_SYSTEMD, a mode of run.sh, that guest has
# booted with systemd, what `make install` installs, the unit enabled, and the configuration of config.sh.

. "$(dirname "$0")/lib.sh"
[[ ${1-} && ${VM_KERNEL-} ]] || usage
repository=${here%/tests/vm} test=$1 options=()
shift
[[ $VM_KERNEL == uml ]] || options+=(--net)
if [[ ${VM_SYSTEMD-} ]]; then
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    make -s -C "$repository" install DESTDIR="$tree" >&2
    wants=$tree/etc/systemd/system/$(sed -n 's/^WantedBy=//p' "$repository/units/bpfboot.service").wants
    mkdir -p "$tree/etc/bpfboot.d" "$wants"
    ln -s /usr/lib/systemd/system/bpfboot.service "$wants"
    "$here/config.sh" "$VM_KERNEL" >"$tree/etc/bpfboot.d/50-guest.toml"
    options+=(--append net.ifnames=0 --systemd "$VM_SYSTEMD" --file "$tree:/" --memory 768)
else
    options+=(--file "$repository/target/bpfboot:/usr/bin/bpfboot")
fi
# The objects where common::object() looks for them: where they are here, too. The kernel's configuration for preflight.
config=$("$here/kernel.sh" "$VM_KERNEL")/config
"$here/run.sh" "${options[@]}" --append "${VM_APPEND-}" --timeout 300 --file "$test:/vm/test" \
    --file "$repository/target/test-objects:$repository/target/test-objects" \
    --file "$repository/target/ebpf:$repository/target/ebpf" --file "$config:/vm/config" "$VM_KERNEL" \
    env BPFBOOT=/usr/bin/bpfboot VM_KERNEL="$VM_KERNEL" /vm/test "$@"
