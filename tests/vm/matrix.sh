#!/bin/bash
# matrix.sh KERNEL...: tests/guest on each of them, in as many guests as it takes, and a boot with systemd and our unit.

. "$(dirname "$0")/lib.sh"
(($#)) || usage
cd "${here%/tests/vm}"
. .ci/toolchain.sh
need test guest vm
step tests "Building the tests with $toolchain" native test --no-run --test guest

failed=()
for kernel; do
    start=$SECONDS words=''
    echo "==> $kernel: getting it, and what it boots"
    tests/vm/initrd.sh "$kernel" >/dev/null
    tests/vm/root.sh "$kernel" >/dev/null
    echo "==> $kernel: tests in guests (ready after $((SECONDS - start)) s)"
    # LSM programs attach everywhere, and are asked only where bpf is in the list: by default since 6.1.
    [[ $kernel != 5.10 ]] || words=lsm=lockdown,bpf
    guest "$kernel" "$words" --skip booted --skip row_22 --skip row_36 || failed+=("$kernel")
    # What cannot be taken back, and what needs a boot of its own.
    guest "$kernel" "" row_22 || failed+=("$kernel, row 22")
    [[ $kernel == uml ]] || guest "$kernel" lockdown=confidentiality row_36 || failed+=("$kernel, row 36")
    VM_SYSTEMD=ro guest "$kernel" "$words" booted --nocapture || failed+=("$kernel with systemd")
    echo "==> $kernel: done after $((SECONDS - start)) s"
done
((!${#failed[@]})) || {
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
}
