#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Where dracut's initramfs is without systemd.

# shellcheck source=/dev/null
command -v die >/dev/null || . /lib/dracut-lib.sh

/usr/lib/bpfboot/in-initramfs || die "bpfboot failed, and bpfboot.initramfs=required"
