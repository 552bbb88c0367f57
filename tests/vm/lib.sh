# Sourced by its neighbours: where things are kept, and what Debian's packages are called today.
# shellcheck shell=bash disable=SC2034

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${here%/tests/vm}/target/vm

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 125
}

# usage: prints the comment at the head of the script.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 125
}

# made_by FILE...: changes when what builds a thing does.
made_by() { cat "$@" | sha256sum | cut -c1-12; }

# The one apt state that is not the machine's: a suite beside its own, from the mirror it uses anyway. Nothing is
# written to /etc/apt.
private=()
# mirror NAME: the address of Debian's archive `debian` or `debian-security`, as this machine knows it.
mirror() {
    local found
    # shellcheck disable=SC2016 # apt's own variable
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        sed 's#/*$##' | grep -m 1 "/$1\$") ||
        die "apt knows no mirror of $1 (try: apt-get update)"
    printf '%s\n' "$found"
}
# source_line ARCHIVE SUITE
source_line() {
    local at
    at=$(mirror "$1")
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$at" "$2"
}
# use_suite ARCHIVE SUITE DIRECTORY: from here on, "${private[@]}" makes apt look there only.
use_suite() {
    mkdir -p "$3"/{lists/partial,archives/partial,parts}
    source_line "$1" "$2" >"$3/sources.list"
    private=(-o "Dir::Etc::sourcelist=$3/sources.list" -o "Dir::Etc::sourceparts=$3/parts"
        -o "Dir::State::lists=$3/lists" -o "Dir::Cache=$3" -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    apt-get "${private[@]}" -qq update
}
