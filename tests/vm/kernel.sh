#!/bin/bash
# kernel.sh KERNEL: prints the directory of that kernel, which it gets once from Debian's packages.
#
# KERNEL is 5.10, 6.1, 6.12, `new` (the newest of trixie-backports) or `uml` (6.1 as a process: no JIT, no BTF, no
# kprobes, no debugfs). In the directory: `image` boots; `version`; `root/lib/modules/VERSION`, with modules.dep;
# `config`.

. "$(dirname "$0")/lib.sh"
(($# == 1)) || usage
kernel=$1 to=$cache/kernel/$1
[[ ! -e $to/version || ! -e $to/config ]] || { echo "$to"; exit; }

rm -rf "$to"
mkdir -p "$to/get"
case $kernel in
5.10) meta=linux-image-cloud-amd64 && use_suite debian-security bullseye-security "$to/get" ;;
6.1) meta=linux-image-cloud-amd64 ;;
6.12) meta=linux-image-6.12-cloud-amd64 ;;
new) meta=linux-image-cloud-amd64 && use_suite debian trixie-backports "$to/get" ;;
uml) meta='' packages=(user-mode-linux) ;;
*) usage ;;
esac

# depends PACKAGE PATTERN: the names change with every security update.
depends() { apt-cache "${private[@]}" depends "$1" | awk -v pattern="$2" '/Depends:/ && $2 ~ pattern {print $2}'; }
if [[ $meta ]]; then
    image=$(depends "$meta" '^linux-image-[0-9]')
    [[ $image ]] || die "$meta is in no package list (try: apt-get update)"
    # Since 6.16 the image is a shell around parts.
    mapfile -t packages < <(echo "$image" && depends "$image" '^linux-(binary|modules|base)-[0-9]')
fi
(cd "$to/get" && apt-get "${private[@]}" -qq -o APT::Sandbox::User=root download "${packages[@]}")
for package in "$to"/get/*.deb; do dpkg-deb -x "$package" "$to/get/root"; done

found=("$to"/get/root/{,usr/}lib/{,uml/}modules/*/kernel)
for modules in "${found[@]}"; do [[ ! -d $modules ]] || break; done
modules=${modules%/kernel} version=${modules##*/}
mkdir -p "$to/root/lib/modules"

# An image unpacked here starts up to three seconds sooner than one that an emulated processor has to unpack.
number() { od -An -j "$2" -N "$3" -t "u$3" "$1" | tr -d ' '; }
unpack() {
    local start=$((($(number "$1" 0x1f1 1) + 1) * 512 + $(number "$1" 0x248 4))) size with
    size=$(number "$1" 0x24c 4)
    case $(od -An -j "$start" -N 4 -t x1 "$1" | tr -d ' ') in
    02214c18) with=lz4 ;;
    28b52ffd) with=zstd ;;
    fd377a58) with=xz ;;
    *) die "$1 is packed in a way unknown here" ;;
    esac
    # Its last four bytes are the size unpacked.
    head -c "$((start + size - 4))" "$1" | tail -c "$((size - 4))" | "$with" -dc
}
if [[ $kernel == uml ]]; then
    mv "$to/get/root/usr/bin/linux.uml" "$to/image"
    "$to/image" --showconfig >"$to/config"
else
    for image in "$to/get/root/boot/vmlinuz-$version" "$modules/vmlinuz"; do
        [[ ! -e $image ]] || unpack "$image" >"$to/image"
    done
    for config in "$to/get/root/boot/config-$version" "$modules/config"; do
        [[ ! -e $config ]] || cp "$config" "$to/config"
    done
fi
mv "$modules" "$to/root/lib/modules/"
depmod -b "$to/root" "$version"
rm -r "$to/get"
echo "$version" >"$to/version"
echo "$to"
