#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Asks bash, zsh and fish what they offer, and holds it against what `bpfboot --help` says.
set -euo pipefail
cd "$(dirname "$0")/../.."

in_bash() {
    bash --norc -c '. completions/bpfboot.bash; COMP_WORDS=($1); [[ $1 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _bpfboot; printf "%s\n" "${COMPREPLY[@]}"' bash "$1"
}
in_zsh() { timeout 20 zsh -f tests/packages/complete.zsh "$1"; }
# shellcheck disable=SC2016  # fish expands it
in_fish() { fish --no-config -c 'source completions/bpfboot.fish; complete -C "$argv"' "$1" | cut -f 1; }

# offers LINE WORD...: each shell offers just these words at the end of LINE.
offers() {
    local line=$1 shell want got
    shift
    want=$(printf '%s\n' "$@" | sort -u)
    for shell in bash zsh fish; do
        got=$("in_$shell" "$line" | sort -u)
        [[ $got == "$want" ]] || { diff <(echo "$want") <(echo "$got") >&2 || true; echo "FAILED: $shell after '$line'" >&2; exit 1; }
    done
}

section() { target/bpfboot --help | sed -n "/^$1:/,/^\$/p"; }
mapfile -t verbs < <(section verbs | sed -n 's/^  \([a-z]*\) .*/\1/p')
mapfile -t global < <(section options | grep -o -- '--[a-z-]*  *[A-Za-z]' | grep -o -- '--[a-z-]*')
((${#verbs[@]} > 5 && ${#global[@]} > 5)) || { echo "FAILED: no verbs or options in the help" >&2; exit 1; }

offers 'bpfboot ' "${verbs[@]}"
offers 'bpfboot --' "${global[@]}"
offers 'bpfboot help ' "${verbs[@]}"
for verb in "${verbs[@]}"; do
    [[ $verb != help ]] || continue
    mapfile -t own < <(target/bpfboot help "$verb" | sed -n 's/^ *\(--[a-z-]*\) .*/\1/p')
    offers "bpfboot $verb --" "${global[@]}" "${own[@]}"
done
mapfile -t interfaces < <(ls /sys/class/net)
mapfile -t profiles < <(target/bpfboot profiles | sed -n 's/^\([a-z]*\)  .*/\1/p')
offers 'bpfboot attach ' "${interfaces[@]}"
offers 'bpfboot detach ' "${interfaces[@]}"
offers 'bpfboot profiles ' "${profiles[@]}"
offers 'bpfboot render ' systemd docker compose kubernetes oci sysctl.d limits
offers 'bpfboot check --color ' auto always never
offers 'bpfboot attach lo --mode ' native generic any offload
echo "completions: bash, zsh and fish offer what bpfboot --help says"
