#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# tree.sh: prints the directory of a small Debian 12 with dpkg and systemd, which it builds once (as root: mmdebstrap).
# tree.sh KERNEL: a squashfs of it, with that kernel's modules, for tests/vm/boot.sh. In it, package-check.service runs
# /usr/lib/package/check once the boot has settled, with its output and exit status on ttyS1.

# shellcheck disable=SC2154 # of lib.sh
. "$(dirname "$0")/../vm/lib.sh"
made_by=$(made_by "${BASH_SOURCE[0]}" "$here/modules.sh")
packages=$cache/packages tree=$cache/packages/tree-$made_by
[[ -d $tree ]] || {
    rm -rf "$packages"
    mkdir -p "$packages"
    new=$packages/new
    source_line debian bookworm >"$packages/sources.list"
    mmdebstrap -q --mode=root --variant=minbase --include=bpftool,iproute2,kmod,systemd-sysv,udev \
        bookworm "$new" "$packages/sources.list" >&2
    rm -rf "$new"/usr/share/{doc,info,locale,man}/* "$new"/usr/lib/udev/hwdb.* "$new"/var/{cache,lib}/apt/* \
        "$new"/etc/{apt/sources.list,resolv.conf}
    echo guest >"$new/etc/hostname"
    echo 00000000000000000000000000000001 >"$new/etc/machine-id"
    : >"$new/etc/fstab"
    mkdir -p "$new/usr/lib/package"
    # A oneshot would itself keep the boot from settling.
    cat >"$new/etc/systemd/system/package-check.service" <<-'UNIT'
		[Unit]
		After=multi-user.target
		[Service]
		Type=simple
		ExecStart=/bin/bash -c 'systemctl is-system-running --wait; bash /usr/lib/package/check; status=$?; sync; \
		    echo VM-EXIT $status; systemctl poweroff --force --force'
		StandardOutput=tty
		StandardError=inherit
		TTYPath=/dev/ttyS1
	UNIT
    mkdir -p "$new/etc/systemd/system/multi-user.target.wants"
    ln -s ../package-check.service "$new/etc/systemd/system/multi-user.target.wants/"
    ln -s /usr/lib/systemd/system/multi-user.target "$new/etc/systemd/system/default.target"
    for unit in {getty,serial-getty,console-getty}@.service getty.target getty-static.service systemd-logind.service \
        systemd-firstboot.service ldconfig.service systemd-machine-id-commit.service fstrim.timer; do
        ln -sf /dev/null "$new/etc/systemd/system/$unit"
    done
    mv "$new" "$tree"
}
(($#)) || { echo "$tree" && exit; }

image=$packages/$(<"$("$here/kernel.sh" "$1")/version")-$made_by.squashfs
[[ -e $image ]] || {
    copy=$packages/copy
    rm -rf "$copy"
    cp -al "$tree/." "$copy"
    chmod 755 "$copy"
    "$here/modules.sh" "$1" "$copy"
    mksquashfs "$copy" "$image.new" -quiet -no-progress -no-xattrs -comp zstd -Xcompression-level 3 >/dev/null
    rm -rf "$copy"
    mv "$image.new" "$image"
}
echo "$image"
