#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# dracut module: takes bpfboot in where bpfboot-initramfs.service is enabled, or with --add bpfboot. Not by mere
# presence: an initramfs keeps the configuration of the day it was built, and who uses one has to know.

check() {
	local dir
	require_binaries /usr/bin/bpfboot || return 1
	for dir in /etc /usr/lib; do
		[[ ! -L $dir/systemd/system/initrd.target.wants/bpfboot-initramfs.service ]] || return 0
	done
	return 255
}

depends() {
	return 0
}

install() {
	# dracut's own name for the tree.
	# shellcheck disable=SC2154
	/usr/lib/bpfboot/into-initramfs "$initdir" || return 1
	if dracut_module_included systemd; then
		inst_simple /usr/lib/systemd/system/bpfboot-initramfs.service
		"$SYSTEMCTL" -q --root "$initdir" enable bpfboot-initramfs.service
	else
		# shellcheck disable=SC2154
		inst_hook pre-pivot 50 "$moddir/bpfboot.sh"
	fi
}
