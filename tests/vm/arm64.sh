#!/bin/bash
# arm64.sh [PACKAGE...]: boots the kernels of these packages (Debian's for clouds, 6.1 and 6.12) in QEMU, with
# target/aarch64/bpfboot and busybox in an initramfs, and holds what tests/vm/arm64-init says against what is wanted.

. "$(dirname "$0")/lib.sh"
cd "${here%/tests/vm}"
export ARCH=aarch64
. .ci/toolchain.sh
need arm64
(($#)) || set -- linux-image-cloud-arm64 linux-image-6.12-cloud-arm64

work=$PWD/target/vm/arm64
[[ -e $work/bin/busybox ]] || step arm64 "Getting busybox for arm64" foreign "$work" busybox-static
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
mkdir -p "$tree"/{bin,dev,etc,proc,run,sys}
cp "$work/bin/busybox" target/aarch64/bpfboot "$tree/bin"
printf 'root:x:0:0::/:\nagent:x:1234:1234::/:\n' >"$tree/etc/passwd"
cp tests/vm/arm64-init "$tree/init"
(cd "$tree" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd"

missed=0
for package; do
    kernel=$work/$package
    [[ -e $kernel/boot ]] || step arm64 "Getting $package" foreign "$kernel" "$package"
    said=$work/$package.log
    timeout 170 qemu-system-aarch64 -machine virt -cpu max,pauth=off -m 1024 -smp 2 -nographic -no-reboot \
        -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyAMA0 quiet panic=-1" </dev/null |
        tr -d '\r' >"$said" || true
    if grep -qx 'arm64: all as wanted' "$said"; then
        printf '%s: %s\n' "$package" "$(grep -m 1 '^kernel ' "$said")"
    else
        tail -40 "$said"
        printf '%s: not as wanted; the whole console is %s\n' "$package" "$said"
        missed=1
    fi
done
exit $missed
