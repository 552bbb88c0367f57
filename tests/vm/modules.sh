#!/bin/bash
# modules.sh KERNEL TREE: copies what the guests need of that kernel's modules to TREE/usr/lib/modules, unpacked.

. "$(dirname "$0")/lib.sh"
(($# == 2)) || usage
from=$("$here/kernel.sh" "$1") version=$(<"$from/version")
to=$2/usr/lib/modules/$version
wanted=(virtio_pci virtio_blk virtio_net virtio_rng veth dummy ifb tcp_bbr sch_fq overlay squashfs erofs loop autofs4
    ext4)

mkdir -p "$to"
cp "$from/root/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$to"
for module in "${wanted[@]}"; do
    # Built in, or not in this kernel: whoever needs it will see.
    modprobe -d "$from/root" -S "$version" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r module; do
    name=${module##*"/modules/$version/"}
    mkdir -p "$(dirname "$to/$name")"
    case $module in
    *.xz) xz -dc "$module" >"$to/${name%.xz}" ;;
    *) cp "$module" "$to/$name" ;;
    esac
done
depmod -b "$2/usr" "$version"
