#!/bin/bash
# boot.sh [OPTION]... KERNEL INITRD: boots KERNEL (kernel.sh) with INITRD in QEMU, `uml` as a process.
#
# The guest says what it has to say on its second serial port, and its exit status in a last line `VM-EXIT n`: both come
# back. Otherwise the console's end comes on stderr, and
#   124  the guest hung: it was still running after the timeout
#   125  it ended without a status, as by a panic
#   137  the power was cut, as asked for
#
# KERNEL may also be the path of an image.
#
#   --append WORDS       for the kernel's command line; may be repeated
#   --image FILE         a read-only disk, the first: /dev/vda (uml: /dev/ubda)
#   --disk FILE          a disk that stays: the next; made, 64 MiB of ext4, where there is none
#   --net                a virtio-net card, on a network with the gateway 10.0.2.2 and nobody else (not uml)
#   --memory MIB         512
#   --cpus NUMBER        2, which take turns
#   --parallel           all at once: a boot in two thirds of the time, but one in some thirty stands still for good while
#                        the kernel patches its code for a tracepoint (QEMU 7.2)
#   --timeout SECONDS    60
#   --cut [TEXT+]SECONDS cuts the power so long after the start, or after TEXT was in the guest's output
#   --log DIR            keeps `console` and `output` there, and in `took` how long it ran, in ms

. "$(dirname "$0")/lib.sh"
append='' image='' disk='' net='' memory=512 cpus=2 thread=single limit=60 cut='' log=''
while [[ ${1-} == --* ]]; do
    case $1 in
    --append) append+=" $2" ;;
    --net) net=1 && shift && continue ;;
    --parallel) thread=multi && shift && continue ;;
    --image | --disk | --memory | --cpus | --cut | --log) declare "${1#--}=$2" ;;
    --timeout) limit=$2 ;;
    *) usage ;;
    esac
    shift 2
done
(($# == 2)) || usage
kernel=$1 initrd=$2 file=$1
[[ $kernel == */* ]] || file=$("$here/kernel.sh" "$kernel")/image

[[ $log ]] || {
    log=$(mktemp -d)
    forget=$log
}
mkdir -p "$log"
: >"$log/output"
guest=''
trap '[[ ! $guest ]] || kill -KILL -- "-$guest" 2>/dev/null; [[ ! ${forget-} ]] || rm -rf "$forget"' EXIT
[[ ! $disk || -s $disk ]] || {
    truncate -s 64M "$disk"
    mkfs.ext4 -q "$disk"
}

append="panic=-1 quiet$append"
# shellcheck disable=SC2054,SC2206 # commas of QEMU's; words, as on any kernel's command line
if [[ $kernel == uml ]]; then
    [[ ! $net ]] || die "no virtio-net under uml"
    drives=()
    [[ ! $image ]] || drives+=("ubd$((${#drives[@]}))r=$image")
    [[ ! $disk ]] || drives+=("ubd$((${#drives[@]}))=$disk")
    run=("$file" "mem=${memory}M" "initrd=$initrd" "uml_dir=$log" con=null con0=null,fd:1 ssl=null ssl1=null,fd:3
        "${drives[@]}" $append)
else
    # On a busy machine the kernel's own test of the timer fails, by a panic: no_timer_check, as under KVM.
    # No KVM, also where there is one: what passes for it in a guest of somebody's cloud often cannot run a kernel.
    run=(qemu-system-x86_64 -accel "tcg,thread=$thread" -cpu max -machine q35 -smp "$cpus" -m "$memory" -nodefaults -no-user-config
        -display none -no-reboot -serial "file:$log/console" -serial "file:$log/output"
        -kernel "$file" -initrd "$initrd" -append "console=ttyS0 no_timer_check $append")
    [[ ! $image ]] || run+=(-drive "file=$image,format=raw,if=none,id=image,readonly=on" -device virtio-blk-pci,drive=image)
    [[ ! $disk ]] || run+=(-drive "file=$disk,format=raw,if=none,id=disk" -device virtio-blk-pci,drive=disk)
    [[ ! $net ]] || run+=(-netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net)
fi
# timeout makes a process group of it all, which dies as one.
begun=${EPOCHREALTIME/./} start=${EPOCHREALTIME/./}
TMPDIR=$log timeout -k 5 "$limit" "${run[@]}" </dev/null >"$log/console" 3>"$log/output" 2>"$log/errors" &
guest=$!

if [[ $cut ]]; then
    [[ $cut != *+* ]] || text=${cut%+*} start=''
    due() {
        [[ $start ]] || ! grep -qF -- "$text" "$log/output" || start=${EPOCHREALTIME/./}
        [[ $start ]] && awk "BEGIN {exit !(${EPOCHREALTIME/./} - $start >= ${cut##*+} * 1000000)}"
    }
    while kill -0 "$guest" 2>/dev/null; do
        due && kill -KILL -- "-$guest" && { wait "$guest"; } 2>/dev/null && break
        sleep 0.02
    done
fi
ended=0
wait "$guest" 2>/dev/null || ended=$?
guest=''
echo $(((${EPOCHREALTIME/./} - begun) / 1000)) >"$log/took"

tr -d '\r' <"$log/output" | sed '/^VM-EXIT [0-9]*$/d'
status=$(tr -d '\r' <"$log/output" | sed -n 's/^VM-EXIT \([0-9]*\)$/\1/p' | tail -n 1)
[[ ! $status ]] || exit "$status"
[[ ! $cut || $ended != 137 ]] || exit 137
{
    echo "${0##*/}: the guest ($kernel) ended without a status; the end of its console:"
    tail -n 30 "$log/console" | tr -d '\r'
    cat "$log/errors"
} >&2
((ended != 124 && ended != 137)) || exit 124
exit 125
