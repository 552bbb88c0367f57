#!/bin/bash
# root.sh KERNEL [OUT SRC:DEST...]: prints the path of a squashfs root with systemd 252 and that kernel's modules, which
# it builds once (as root: mmdebstrap). With OUT, that file gets the same root with each SRC copied to DEST in it: for
# an initramfs that knows nothing of run.sh's payload.
#
# In it, vm-check.service runs /usr/lib/vm/command once the boot has settled, with its output and exit status on ttyS1.

. "$(dirname "$0")/lib.sh"
(($# == 1 || $# >= 2)) || usage
kernel=$1 out=${2-}
shift $(($# < 2 ? $# : 2))
from=$("$here/kernel.sh" "$kernel") version=$(<"$from/version")
made_by=$(made_by "$here"/{root,modules}.sh)
tree=$cache/root/tree-$made_by image=$cache/root/$version-$made_by.squashfs

build_tree() {
    local packages=base-files base=$tree.new
    packages+=,base-passwd,bash,bpftool,busybox-static,coreutils,dash,grep,iproute2,kmod,mount,sed,systemd,systemd-sysv
    packages+=,udev,util-linux
    source_line debian bookworm >"$base.list"
    mmdebstrap -q --mode=root --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --include="$packages" bookworm "$base" "$base.list"
    # Nothing was configured, so nobody made these.
    for file in passwd group; do cp "$base/usr/share/base-passwd/$file.master" "$base/etc/$file"; done
    chroot "$base" systemd-sysusers
    rm -rf "$base"/usr/share/{bash-completion,bug,doc,i18n,info,lintian,locale,man,perl5,zoneinfo,zsh} \
        "$base"/usr/lib/*-linux-gnu/{gconv,perl-base} "$base"/usr/lib/udev/hwdb.* "$base"/usr/lib/locale \
        "$base"/var/{cache,lib/apt,lib/dpkg}/* "$base"/etc/resolv.conf
    echo guest >"$base/etc/hostname"
    echo 00000000000000000000000000000001 >"$base/etc/machine-id"
    : >"$base/etc/fstab"
    units=$base/usr/lib/systemd/system
    cat >"$units/vm-check.service" <<-UNIT
		[Unit]
		Description=What the test wants to see
		After=multi-user.target
		[Service]
		# A oneshot would itself keep the boot from settling.
		Type=simple
		ExecStart=/usr/lib/vm/check
		StandardOutput=tty
		StandardError=inherit
		TTYPath=/dev/ttyS1
	UNIT
    mkdir -p "$base/usr/lib/vm" "$units/multi-user.target.wants"
    ln -s ../vm-check.service "$units/multi-user.target.wants/"
    ln -sf multi-user.target "$units/default.target"
    cat >"$base/usr/lib/vm/check" <<-'CHECK'
		#!/bin/bash
		export HOME=/root TERM=dumb
		systemctl is-system-running --wait >/run/vm-state
		/usr/lib/vm/command </dev/null
		status=$?
		sync
		echo "VM-EXIT $status"
		systemctl poweroff --force --force >/dev/null
	CHECK
    chmod 755 "$base/usr/lib/vm/check"
    # What a guest of some seconds has no use for.
    mkdir -p "$base/etc/systemd/system"
    for unit in {getty,serial-getty,console-getty}@.service getty.target getty-static.service systemd-logind.service \
        systemd-user-sessions.service systemd-hwdb-update.service systemd-firstboot.service ldconfig.service \
        systemd-machine-id-commit.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
        systemd-pcrphase.service systemd-pcrphase-sysinit.service fstrim.timer; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    mv "$base" "$tree"
}

# pack TO [SRC:DEST...]: links cost no copy, and what the guest brings along replaces them.
pack() {
    local to=$1 copy file source target
    shift
    copy=$(mktemp -d "$cache/root/copy.XXXXXX")
    cp -al "$tree/." "$copy"
    chmod 755 "$copy"
    "$here/modules.sh" "$kernel" "$copy"
    for file; do
        source=${file%%:*} target=$copy${file#*:}
        mkdir -p "$(dirname "$target")"
        cp -rL --remove-destination "$source" -T "$target"
    done
    rm -f "$to.new"
    mksquashfs "$copy" "$to.new" -quiet -no-progress -comp zstd -Xcompression-level 3 -processors 2 >/dev/null
    mv "$to.new" "$to"
    rm -rf "$copy"
}

if [[ ! -d $tree ]]; then
    rm -rf "$cache/root"
    mkdir -p "$cache/root"
    trap 'tail -n 20 "$cache/root/log" >&2' EXIT
    build_tree >"$cache/root/log" 2>&1
    trap - EXIT
fi
if [[ $out ]]; then
    pack "$out" "$@"
else
    out=$image
    [[ -e $image ]] || pack "$image"
fi
echo "$out"
