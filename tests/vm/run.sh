#!/bin/bash
# run.sh [OPTION]... KERNEL COMMAND [ARG]...: runs COMMAND as root in a guest with KERNEL; its output and exit status
# come back, and 124, 125 or 137 as boot.sh says.
#
# The guest is a small initramfs (2 s): busybox, and bpftool, ethtool, ip and strace of this machine; /run, /tmp, /proc,
# /sys, /dev and cgroup2, but no bpffs, tracefs or debugfs; a --disk is on /disk. Or else
#   --systemd MODE     systemd 252, in which COMMAND runs once the boot has settled, /run/vm-state says how. The root is
#                      read-only (`ro`), with a writable /var (`volatile`), or writable (`overlay`); a --disk keeps
#                      what is written
#   --file SRC:DEST    puts it there before the boot, a directory with all that is in it; may be repeated.
#                      Below /bin, /sbin and /lib it goes to the same in /usr
# and every option of boot.sh but --image. With `--append net.ifnames=0` a --net card is eth0 in systemd, too.

. "$(dirname "$0")/lib.sh"
mode='' files=() options=() disk=''
while [[ ${1-} == --* ]]; do
    case $1 in
    --systemd) mode=$2 ;;
    --file) files+=("$2") ;;
    --net | --parallel) options+=("$1") && shift && continue ;;
    *)
        options+=("$1" "$2")
        [[ $1 != --disk ]] || disk=$2
        ;;
    esac
    shift 2
done
(($# >= 2)) || usage
kernel=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree=$work/tree prefix='' command=/vm/command
[[ ! $mode ]] || prefix=/payload command=/usr/lib/vm/command
mkdir -p "$tree"
for file in "${files[@]}" "$work/command:$command"; do
    source=${file%%:*} to=${file#*:}
    [[ $source != "$work/command" ]] || printf '#!/bin/sh\nexec %s\n' "${*@Q}" >"$source"
    case $to in /bin/* | /sbin/* | /lib/*) to=/usr$to ;; esac
    mkdir -p "$(dirname "$tree$prefix$to")"
    cp -rH "$source" -T "$tree$prefix$to"
done
chmod 755 "$tree$prefix$command"
initrd=$("$here/initrd.sh" "$kernel")
{
    cat "$initrd"
    (cd "$tree" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet)
} >"$work/initrd"

device=/dev/vd
[[ $kernel != uml ]] || device=/dev/ubd
first=a
[[ ! $mode ]] || {
    image=$("$here/root.sh" "$kernel")
    options+=(--image "$image" --append "vm.root=$mode vm.image=${device}a systemd.show_status=0")
    first=b
}
[[ ! $disk ]] || options+=(--append "vm.disk=$device$first")
"$here/boot.sh" "${options[@]}" "$kernel" "$work/initrd"
