# shellcheck shell=bash
# Runs in a guest, as root under its systemd, in two boots: the first installs the package, the second finds it at work
# and purges it. The disk keeps what the first has seen.
set -euo pipefail
export TERM=dumb
. /usr/lib/package/listing.sh
kept=/var/tmp/package pins=/sys/fs/bpf/bpfboot live=/sys/fs/bpf/bpfboot/live
fail() { echo "FAILED: $*"; exit 1; }
# is WHAT GOT WANTED
is() { [[ $2 == "$3" ]] || fail "$1: '$2', not '$3'"; }
settings() { for key in net/core/{bpf_jit_enable,bpf_jit_harden,optmem_max}; do echo "$key $(<"/proc/sys/$key")"; done; }
ids() { bpftool --json link show | grep -o '"\(id\|prog_id\)":[0-9]*' | paste -sd ' '; }
# Its progress bar is for people.
package() { dpkg "$@" >/run/package.log 2>&1 || { cat /run/package.log && fail "dpkg $*"; }; }
# show PROPERTY
show() { systemctl show bpfboot.service -P "$1"; }

if [[ ! -d $kept ]]; then
    mkdir "$kept"
    listing / >"$kept/before"
    settings >"$kept/settings"
    package -i /usr/lib/package/bpfboot.deb
    is "enabled after the installation" "$(systemctl list-unit-files 'bpfboot*' --state=enabled --no-legend | awk '{print $1}')" \
        bpfboot.service
    is "the service before the next boot" "$(show LoadState) $(show ActiveState)" "loaded inactive"
    [[ ! -e $pins && ! -e /run/bpfboot/report.json ]] || fail "the installation has run something"
    echo "guest: installed, enabled, not started"
    exit
fi

is "the boot" "$(systemctl is-system-running)" running
is "the service" "$(show ActiveState) $(show Result) $(show ExecMainStatus)" "active success 0"
bpfboot --quiet check || fail "bpfboot check says $?"
bpftool prog show pinned "$live/edge/progs/xdp_main"
before=$(ids)
[[ $before == *'"prog_id"'* ]] || fail "no link is alive: $before"
echo "guest: healthy after a boot ($(systemd-analyze blame --no-pager | grep bpfboot.service || true))"

package -i /usr/lib/package/bpfboot.deb
is "the links after an upgrade" "$(ids)" "$before"
is "the service after an upgrade" "$(show ActiveState)" active
systemctl reload bpfboot.service
is "the links after a reload" "$(ids)" "$before"
echo "guest: an upgrade touches nothing"

purged() {
    package -P bpfboot
    [[ ! -e $pins ]] || fail "pins are left: $(find "$pins")"
    [[ ! -e /run/bpfboot ]] || fail "/run/bpfboot is left"
    is "links of ours" "$(ids)" ""
    diff "$kept/settings" <(settings) || fail "settings are not as before the installation"
    listing / | diff "$kept/before" - || fail "files are left"
    is "units" "$(systemctl list-units --all --no-legend --plain 'bpfboot*')" ""
}
purged
package -i /usr/lib/package/bpfboot.deb
bpfboot --quiet apply || fail "apply by hand says $?"
[[ -e $live ]] || fail "apply by hand has pinned nothing"
purged
echo "guest: purged, after the unit and after an apply by hand: nothing is left"
