#!/bin/bash
# initrd.sh KERNEL: prints the path of a small initramfs for that kernel, which it builds once: init.sh, busybox,
# modules, and this machine's bpftool, ethtool, ip and strace. A payload is an uncompressed cpio archive behind it.

. "$(dirname "$0")/lib.sh"
(($# == 1)) || usage
from=$("$here/kernel.sh" "$1") version=$(<"$from/version")
to=$cache/initrd/$version-$(made_by "$here"/{init,initrd,modules}.sh).cpio.zst
[[ ! -e $to ]] || { echo "$to"; exit; }

mkdir -p "$cache/initrd"
tree=$(mktemp -d "$cache/initrd/tree.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{usr/{bin,sbin,lib,lib64},dev,etc,proc,root,run,sys,tmp,vm}
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$tree/$dir"; done
install "$here/init.sh" "$tree/init"
# The real tools come first in PATH; of busybox's, what is missing.
cp "$(command -v busybox)" "$tree/usr/bin/busybox"
ln -s ../bin/busybox "$tree/usr/sbin/modprobe"
for tool in bpftool ethtool ip strace; do
    tool=$(PATH+=:/usr/sbin:/sbin command -v "$tool") || die "$tool is not installed"
    cp -L "$tool" "$tree/usr/sbin/"
    ldd "$tool" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$tree$(dirname "$library")"
        cp -Lu "$library" "$tree$library"
    done
done
"$here/modules.sh" "$1" "$tree"
(cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet) | zstd -q -3 -o "$tree.zst"
# The kernel looks for the next archive on a multiple of four.
truncate -s %512 "$tree.zst"
rm -f "$cache/initrd/$version"-*
mv "$tree.zst" "$to"
echo "$to"
