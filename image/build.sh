#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# make image: an immutable Debian with bpfboot in it. As root, after `make`. Leaves in OUT: vmlinuz, and the same
# unpacked as vmlinux, which starts sooner where nothing needs the other; initrd; root.squashfs.
#
# SUITE=bookworm          which Debian
# CONFIG=DIRECTORY        its *.toml are sealed into /usr/lib/bpfboot.d
# OBJECTS="FILE.bpf.o"    go to /usr/lib/bpf, and decide what the kernel's BTF there holds
# EXTRA="PACKAGE"         more packages
# OUT=DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${SUITE:-bookworm} config=${CONFIG:-image/bpfboot.d} out=${OUT:-target/image}
packages="systemd-sysv udev kmod zstd dracut-core bpftool linux-image-cloud-$(dpkg --print-architecture) ${EXTRA:-}"
read -ra objects <<<"${OBJECTS:-$out/execs.bpf.o}"
root=$out/root
mkdir -p "$out"

# The base changes with Debian only: unpacked anew each time, bootstrapped once for each list of packages.
key=$(sha256sum <<<"$suite $packages")
base=target/image-base/$suite-${key::12}.tar
[[ -e $base ]] || {
    echo "==> Bootstrapping $suite (two minutes)"
    mkdir -p target/image-base
    mmdebstrap --quiet --format=tar --mode=root --variant=minbase --include="${packages// /,}" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$base.part"
    mv "$base.part" "$base"
}
rm -rf "$root"
mkdir "$root"
tar -C "$root" -xpf "$base"
kernel=$(basename "$root"/usr/lib/modules/*)
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"

# --- bpfboot, its configuration and its objects ---
make -s install DESTDIR="$PWD/$root"
[[ ${OBJECTS:-} ]] ||
    clang -g -O2 -target bpf -I"/usr/include/$(cc -print-multiarch)" -c image/execs.bpf.c -o "$out/execs.bpf.o"
install -Dm 644 "$config"/*.toml -t "$root/usr/lib/bpfboot.d"
install -Dm 644 "${objects[@]}" -t "$root/usr/lib/bpf"
# In /usr, where enabling does not hang on /etc, which may be empty at boot.
install -d "$root/usr/lib/systemd/system/sysinit.target.wants"
ln -s ../bpfboot.service "$root/usr/lib/systemd/system/sysinit.target.wants/"

# --- The kernel's BTF, as far as the objects ask for it ---
# Where the compressed kernel stands in a bzImage, its header says (Documentation/arch/x86/boot.rst): after the setup
# sectors counted at 497, by the offset at 584, in the length at 588, of which the last 4 bytes are the size.
field() { od -An -j "$1" -N "$2" -t "u$2" "$out/vmlinuz" | tr -d ' '; }
start=$((($(field 497 1) + 1) * 512 + $(field 584 4)))
payload() {
    dd if="$out/vmlinuz" bs=64K iflag=skip_bytes,count_bytes skip=$start count=$(($(field 588 4) - 4)) status=none
}
case $(field $start 4) in
407642370) payload | lz4 -dcq ;;
4247762216) payload | zstd -dcq ;;
1484404733) payload | xz -dc --single-stream ;;
*) echo "error: $out/vmlinuz is compressed in a way that is not known here" >&2 && exit 1 ;;
esac >"$out/vmlinux"
bpftool gen min_core_btf "$out/vmlinux" "$root/usr/lib/bpf/kernel.btf" "${objects[@]}"

# --- The initramfs and the root ---
# shellcheck disable=SC2016
unshare -m chroot "$root" bash -euc '
    mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run
    dracut --quiet --force --no-hostonly --kver "$0" --omit "bpfboot lunmask" --add-drivers "squashfs overlay" \
        /boot/image.initrd' "$kernel"
mv "$root/boot/image.initrd" "$out/initrd"
: >"$root/etc/machine-id"
mksquashfs "$root" "$out/root.squashfs" -noappend -quiet -no-progress -comp zstd \
    -wildcards -e 'boot/*' 'var/cache/*' 'var/lib/apt/*' 'var/log/*'
printf '%s: %s bytes\n' "$root/usr/lib/bpf/kernel.btf" "$(stat -c %s "$root/usr/lib/bpf/kernel.btf")"
for file in vmlinuz initrd root.squashfs; do printf '%s: %s bytes\n' "$out/$file" "$(stat -c %s "$out/$file")"; done
echo "to boot it: root=DISK rootfstype=squashfs ro, and systemd.volatile=yes systemd.firstboot=no for an empty /etc and /var"
