#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# install.sh TREE PACKAGE: installs a .deb or .rpm into a Debian that is thrown away afterwards, and removes it again.
# To be run in a mount namespace of its own.
set -euo pipefail
. "$(dirname "$0")/listing.sh"
lower=$1 package=$2
fail() { echo "FAILED: ${package##*/}: $*" >&2; exit 1; }

mount -t tmpfs tmpfs /mnt
mkdir /mnt/{upper,work,root}
mount -t overlay -o "lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt
cp "$OLDPWD/$package" root/tmp/
as_rpm() { rpm --force-debian --root /mnt/root --dbpath /var/lib/rpm "$@"; }

listing root >before
case $package in
*.deb) chroot root dpkg -i "/tmp/${package##*/}" ;;
*.rpm) as_rpm -i --nodeps "root/tmp/${package##*/}" && as_rpm -V --nodeps bpfboot ;;
esac >log 2>&1 || { cat log >&2 && fail "the installation failed"; }
enabled=$(chroot root systemctl list-unit-files 'bpfboot*' --state=enabled --no-legend | awk '{print $1}' | paste -sd ' ')
[[ $enabled == bpfboot.service ]] || fail "enables '$enabled'"
[[ $(chroot root bpfboot --version) == bpfboot* ]] || fail "bpfboot does not run"
case $package in
*.deb) chroot root dpkg --purge bpfboot ;;
*.rpm) as_rpm -e bpfboot ;;
esac >log 2>&1 || { cat log >&2 && fail "the removal failed"; }
listing root >after
# What every RPM distribution has in its package "filesystem" is not all there in a Debian: empty directories of others.
[[ $package != *.rpm ]] || sed -i '/^d .*bpfboot/!{/^d/d}' before after
diff before after >&2 || fail "this is left"
echo "${package##*/}: installed, enabled, removed, nothing is left"
