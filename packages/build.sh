#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# build.sh deb|rpm: the package target/bpfboot*.deb or .rpm, of what `make install` installs. There is no second list of
# what goes where: the tree is installed into target/package, given the shape of that kind of package, and packed.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

kind=$1
tree=target/package/$kind
doc=$tree/usr/share/doc/bpfboot
maintainer=${MAINTAINER:-The bpfboot contributors <bpfboot@example.org>}
# The same sources give the same package, whenever it is made.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

# pack COMMAND...: its output only if it fails.
pack() { "$@" >"target/package/$kind.log" 2>&1 || { cat "target/package/$kind.log" >&2; return 1; }; }

deb() {
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)-1
    # Debian has the licences, and one file that says which.
    rm "$doc"/LICENSE*
    install -Dm 644 packages/deb/lintian-overrides "$tree/usr/share/lintian/overrides/bpfboot"
    mv "$doc/CHANGELOG.md" "$doc/changelog"
    gzip -9n "$doc/changelog"
    cat >target/package/changelog <<END
bpfboot ($version) unstable; urgency=medium

  * Made by "make deb". What is new: changelog.gz beside this file.

 -- $maintainer  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
    # Its own directory for temporary files: the usual one would be target/bpfboot, which is the binary.
    CARGO_TARGET_DIR=target/package/work pack cargo-deb --no-build --no-strip --maintainer "$maintainer" --output target
}

rpm() {
    local units dirs script
    # Those that can be enabled; which are, the preset says.
    units=$(cd "$tree/usr/lib/systemd/system" && grep -l '^\[Install\]' -- * | paste -sd ' ')
    # The packer knows files only. Directories that nobody else has go when we go.
    dirs=$(find "$tree" -depth -type d -path '*bpfboot*' -printf '/%P\n' | paste -sd ' ')
    {
        for script in packages/rpm/*_script; do
            printf "%s = '''\n%s'''\n" "${script##*/}" \
                "$(sed "/^# SPDX/d; s|@UNITS@|$units|; s|@DIRS@|$dirs|" "$script")"
        done
        echo 'assets = ['
        find "$tree" -type f \( -path '*/share/doc/*' -o -path '*/share/man/*' \) \
            -printf '{ source = "%p", dest = "/%P", mode = "%m", doc = true },\n' -o \
            -type f -printf '{ source = "%p", dest = "/%P", mode = "%m" },\n' | LC_ALL=C sort
        echo ']'
    } >target/package/rpm.toml
    pack cargo-generate-rpm --metadata-overwrite target/package/rpm.toml --output target
}

rm -rf "$tree" target/bpfboot[_-]*."$kind"
mkdir -p "$tree"
zsh=site-functions
[[ $kind != deb ]] || zsh=vendor-completions
make -s install DESTDIR="$PWD/$tree" PREFIX=/usr ZSH=$zsh
# mkinitcpio belongs to a distribution with packages of another kind.
rm -rf "$tree/usr/lib/initcpio"
gzip -9n "$tree"/usr/share/man/man*/*
[[ ! $(find "$tree" -type l) ]] || { echo "error: the packages cannot take the links in $tree" >&2; exit 1; }
"$kind"
for package in target/bpfboot[_-]*."$kind"; do printf '%s: %s bytes\n' "$package" "$(stat -c %s "$package")"; done
