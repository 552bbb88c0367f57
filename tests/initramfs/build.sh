#!/bin/bash
# tests/initramfs/build.sh SUITE: the image of that Debian, its initramfs made by each generator with bpfboot inside, and
# a configuration that attaches to a network card. All in target/initramfs-test/SUITE.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=$1
export SUITE=$suite OUT=target/initramfs-test/$suite EXTRA="busybox-static iproute2 kexec-tools"
image/build.sh
root=$OUT/root

# eth0 also where the initramfs has no udev: the tests boot with net.ifnames=0.
cat >"$root/usr/lib/bpfboot.d/60-edge.toml" <<'END'
[object.edge]
path = "builtin:edge"
programs.xdp_main = { attach = { xdp = "eth0", wait = "20s" } }
END
chroot "$root" systemctl --quiet enable bpfboot-initramfs.service
printf 'squashfs\nvirtio_net\n' >>"$root/etc/initramfs-tools/modules"

kernel=$(basename "$root"/usr/lib/modules/*)
# shellcheck disable=SC2016
unshare -m chroot "$root" bash -euc '
    mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run
    dracut() { command dracut --quiet --force --no-hostonly --kver "$kernel" --add-drivers "squashfs virtio_net" "$@"; }
    kernel=$0 common="base rootfs-block kernel-modules fs-lib bpfboot"
    mkinitramfs -o /boot/initramfs-tools.initrd "$kernel"
    dracut -m "$common systemd systemd-initrd dracut-systemd udev-rules shutdown" /boot/dracut-systemd.initrd
    dracut -m "$common" /boot/dracut-hook.initrd' "$kernel"
for made in "$root"/boot/*.initrd; do
    # The kernel takes a further archive at a multiple of four.
    truncate -s %4 "$made"
    cp "$made" "$OUT/"
done
# As the image's, but for what is configured above, and for a kernel and an initramfs to start by kexec.
mksquashfs "$root" "$OUT/test.squashfs" -noappend -quiet -no-progress -comp zstd -Xcompression-level 3 \
    -wildcards -e 'boot/initrd*' 'boot/dracut*' 'var/cache/*' 'var/lib/apt/*' 'var/log/*'

# A machine of somebody else, which has the extension, and no bpfboot of its own.
image/sysext.sh
install -Dm 644 "$OUT/bpfboot.raw" "$root/var/lib/extensions/bpfboot.raw"
mksquashfs "$root" "$OUT/bare.squashfs" -noappend -quiet -no-progress -comp zstd -Xcompression-level 3 -wildcards \
    -e 'boot/*' 'var/cache/*' 'var/lib/apt/*' 'var/log/*' usr/bin/bpfboot 'usr/lib/bpf*' '... bpfboot*.service'
