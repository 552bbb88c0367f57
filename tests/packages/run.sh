#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh [KERNEL]: looks at both packages, installs and removes each in a small Debian, and boots a guest with the deb.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests=tests/packages kernel=${1:-6.1}
deb=$(echo target/bpfboot_*.deb) rpm=$(echo target/bpfboot-*.rpm)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
# same WHAT FILE FILE
same() { diff "$2" "$3" >&2 || fail "$1"; }

lintian --allow-root --fail-on error,warning "$deb"
echo "lintian: no error, no warning"

# Of documentation each kind of package has its own; zsh looks elsewhere on Debian; mkinitcpio is on neither.
shape() { sed -E '/share\/(doc|lintian)\/|lib\/initcpio/d; s#zsh/[a-z-]*/#zsh/#; s#(share/man/.*[0-9])$#\1.gz#' | LC_ALL=C sort; }
make -s install DESTDIR="$work/installed"
(cd "$work/installed" && find . -type f -printf '%M %P\n') | shape >"$work/make"
dpkg-deb --fsys-tarfile "$deb" | tar tv | awk '/^-/ {sub("^./", "", $6); print $1, $6}' | shape >"$work/deb"
rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" | sed 's# /# #' | shape >"$work/rpm"
same "the deb has not what make install installs" "$work/make" "$work/deb"
same "the RPM has not what make install installs" "$work/make" "$work/rpm"
echo "files: $(wc -l <"$work/make") besides the documentation, in both packages as make install puts them"

$tests/completions.sh

tree=$($tests/tree.sh)
for package in "$deb" "$rpm"; do unshare --mount $tests/install.sh "$tree" "$package"; done

# The guest: its disk keeps what the first boot did.
payload=$work/payload/usr/lib/package
install -D "$deb" "$payload/bpfboot.deb"
install $tests/listing.sh "$payload/listing.sh"
install $tests/guest.sh "$payload/check"
image=$($tests/tree.sh "$kernel")
{
    cat "$(tests/vm/initrd.sh "$kernel")"
    (cd "$work" && find payload -print0 | cpio -0 -o -H newc -R 0:0 --quiet)
} >"$work/initrd"
for _ in first second; do
    tests/vm/boot.sh --timeout 600 --image "$image" --disk "$work/disk" \
        --append "vm.root=overlay vm.image=/dev/vda vm.disk=/dev/vdb systemd.show_status=0" "$kernel" "$work/initrd"
done
