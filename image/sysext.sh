#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# make sysext: bpfboot as an extension of a read-only /usr, for hosts that layer (systemd-sysext(8)). After `make`. Leaves
# OUT/bpfboot.raw; its place is /var/lib/extensions.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${OUT:-target/image} tree=${OUT:-target/image}/sysext
rm -rf "$tree"
make -s install DESTDIR="$PWD/$tree"
rm -r "${tree:?}/usr/share"
# A static binary asks nothing of the host's libraries, so that any system will do; only the machine's kind counts.
case $(uname -m) in
x86_64) architecture=x86-64 ;;
aarch64) architecture=arm64 ;;
*) architecture=$(uname -m) ;;
esac
install -d "$tree/usr/lib/extension-release.d"
printf '%s\n' ID=_any "ARCHITECTURE=$architecture" EXTENSION_RELOAD_MANAGER=1 \
    >"$tree/usr/lib/extension-release.d/extension-release.bpfboot"
# An extension comes when the boot's jobs are queued already; a target that upholds the unit starts it nevertheless.
install -d "$tree/usr/lib/systemd/system/multi-user.target.d"
printf '[Unit]\nUpholds=bpfboot.service\n' >"$tree/usr/lib/systemd/system/multi-user.target.d/bpfboot.conf"
mksquashfs "$tree" "$out/bpfboot.raw" -noappend -quiet -no-progress -all-root -comp zstd
printf '%s: %s bytes\n' "$out/bpfboot.raw" "$(stat -c %s "$out/bpfboot.raw")"
