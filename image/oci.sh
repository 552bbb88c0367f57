#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# An OCI image layout with the small static binary and nothing else: its configuration is the one inside, or mounted.
#
# usage: image/oci.sh [LAYOUT [BINARY]]      (make oci: target/oci, target/bpfboot-small; SOURCE_DATE_EPOCH dates it)
set -euo pipefail
cd "$(dirname "$0")/.."

. .ci/toolchain.sh
need oci
layout=${1:-target/oci} binary=${2:-target/bpfboot-small}
[[ -x $binary ]] || die "$binary is not there: make small"
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y "$binary")}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
version=$("$binary" --version)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -m 755 "$binary" "$work/bpfboot"
touch -d "@$epoch" "$work/bpfboot"
umoci() { command umoci --log=error "$@"; }
umoci init --layout "$work/oci"
umoci new --image "$work/oci:latest"
umoci insert --image "$work/oci:latest" --history.created "$created" "$work/bpfboot" /usr/bin/bpfboot
umoci config --image "$work/oci:latest" --created "$created" --history.created "$created" \
    --config.entrypoint /usr/bin/bpfboot --config.cmd apply --config.workingdir / \
    --config.label "org.opencontainers.image.title=bpfboot" \
    --config.label "org.opencontainers.image.version=${version#bpfboot }" \
    --config.label "org.opencontainers.image.licenses=(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)"
umoci gc --layout "$work/oci"
rm -rf "$layout"
mkdir -p "$(dirname "$layout")"
mv "$work/oci" "$layout"
printf '%s: %s bytes unpacked, %s as a layout\n' "$layout" "$(stat -c %s "$binary")" "$(cat "$layout"/blobs/sha256/* "$layout"/*.json "$layout"/oci-layout | wc -c)"
