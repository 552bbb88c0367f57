#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013
# The guest's /init. Runs /vm/command, whose output and exit status go to ttyS1. With vm.root=MODE on the command line,
# vm.image=DEVICE gets the payload laid over it and starts with its own init: `ro` all read-only, `volatile` with a
# writable /var, `overlay` writable, and kept on vm.disk=DEVICE where there is one.

export PATH=/usr/local/sbin:/usr/sbin:/usr/bin HOME=/root TERM=dumb
/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do
    case $word in
    vm.root=*) mode=${word#*=} ;;
    vm.image=*) image=${word#*=} ;;
    vm.disk=*) disk=${word#*=} ;;
    esac
done

# Where a driver is built in, or the machine is a process, there is no module.
for module in virtio_pci virtio_blk virtio_net virtio_rng ext4 squashfs overlay; do modprobe -q $module; done
for device in $image $disk; do
    left=100
    while [ ! -b "$device" ] && [ $((left -= 1)) -gt 0 ]; do sleep 0.05; done
done

if [ "$mode" ]; then
    mkdir -p /lower /kept /layers /sysroot
    mount -t squashfs -o ro "$image" /lower
    mount -t tmpfs -o mode=0755 layers /layers
    mkdir -p /payload /layers/payload
    cp -a /payload/. /layers/payload
    options=lowerdir=/layers/payload:/lower
    if [ "$mode" = overlay ]; then
        upper=/layers
        [ -z "$disk" ] || { mount -t ext4 "$disk" /kept && upper=/kept; }
        mkdir -p $upper/upper $upper/work
        options=$options,upperdir=$upper/upper,workdir=$upper/work
    fi
    mount -t overlay -o $options root /sysroot
    [ "$mode" = overlay ] || mount -o remount,ro /sysroot
    [ "$mode" != volatile ] || mount -t tmpfs -o mode=0755 var /sysroot/var
    umount /sys /proc
    mount --move /dev /sysroot/dev
    exec switch_root /sysroot /sbin/init
fi

mkdir -p /dev/pts /dev/shm /disk
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -z "$disk" ] || mount -t ext4 "$disk" /disk
ip link set lo up
status=127
[ ! -x /vm/command ] || { /vm/command </dev/null >/dev/ttyS1 2>&1; status=$?; }
sync
echo "VM-EXIT $status" >/dev/ttyS1
poweroff -f
