# Sourced by the Makefile. The one place that chooses the Rust toolchain, installs what is
# missing, and holds the compiler flags. Functions to call: need, step, ebpf, static, native, guest, hostile.

LLVM=22
BPF_LINKER=0.13.0
CARGO_DENY=0.20.2
CARGO_DEB=3.8.0
CARGO_GENERATE_RPM=0.21.1
YOUKI=0.7.0
CHECK_JSONSCHEMA=0.39.0
KUBERNETES_VALIDATE=1.37.0
TOOLS=$PWD/target/toolchain
cargo=cargo
# ARCH: another machine's, for what `build` makes.
arch=${ARCH:-$(uname -m)}
musl=$arch-unknown-linux-musl
gnu=$arch-unknown-linux-gnu
fuzzers=target/fuzz/$gnu/release
musl_lib=/usr/lib/$arch-linux-musl
out=target
if [[ $arch != "$(uname -m)" ]]; then
    out=target/$arch
    musl_lib=$TOOLS/$arch$musl_lib
    export AYA_BPF_TARGET_ARCH=$arch
fi
PATH+=:/usr/sbin:/sbin:$TOOLS/bin

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# step NAME TITLE COMMAND...: the output goes to a log; a heading once real work starts, a line
# of it every ten seconds, its errors or its tail on failure. With nothing to do it stays silent.
step() {
    local title=$2 log=target/log/$1.log next='' line
    local work='^ *(Blocking|Compiling|Downloading|Installing|Locking|Reading|Updating) '
    shift 2
    mkdir -p target/log
    "$@" 2>&1 </dev/null | while IFS= read -r line; do
        printf '%s\n' "$line" >&3
        if [[ ! $next && $line =~ $work ]]; then
            printf '==> %s (log: %s)\n' "$title" "$log"
            next=$((SECONDS + 10))
        elif [[ $next ]] && ((SECONDS >= next)); then
            printf '    %s\n' "${line:0:100}"
            next=$((SECONDS + 10))
        fi
    done 3>"$log" || {
        { grep -m 6 -A 12 '^error' "$log" || tail -n 60 "$log"; } >&2
        die "$title failed; the whole log is $log"
    }
}

# --- What must be installed ------------------------------------------------------------------

missing=()
want() { command -v "$1" >/dev/null || [[ -e $1 ]] || missing+=("$2"); }

apt() {
    local sudo=''
    ((EUID == 0)) || sudo=sudo
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -y --no-install-recommends "$@"
}

# The package lists of a fresh machine are absent or stale: refresh them only then.
fetch() { apt install "${missing[@]}" || { apt update && apt install "${missing[@]}"; }; }

install_missing() {
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "please install: ${missing[*]} (a rustup nightly with rust-src, and bpf-linker, replace all of Rust and LLVM)"
    step packages "Installing ${missing[*]}" fetch
    missing=()
    hash -r
}

# foreign DIRECTORY PACKAGE...: unpacks Debian's packages for the machine $arch there, and the kernels that they depend on.
# What apt must know for that it keeps beside, so this machine goes on without knowing of another.
foreign() {
    local to=$1 get=$1.apt package packages name=$arch
    shift
    case $arch in aarch64) name=arm64 ;; x86_64) name=amd64 ;; esac
    rm -rf "$get"
    mkdir -p "$get"/{lists/partial,archives/partial,root}
    : >"$get/status"
    local private=(-qq -o "APT::Architecture=$name" -o "APT::Architectures::=$name" -o "Dir::State::lists=$get/lists"
        -o "Dir::State::status=$get/status" -o "Dir::Cache=$get" -o Acquire::Languages=none -o APT::Sandbox::User=root)
    apt-get "${private[@]}" update
    mapfile -t packages < <(
        printf '%s\n' "$@"
        apt-cache "${private[@]}" depends "$@" | awk '/Depends: linux-image-[0-9]/ {print $2}'
    )
    (cd "$get" && apt-get "${private[@]}" download "${packages[@]}")
    for package in "$get"/*.deb; do dpkg-deb -x "$package" "$get/root"; done
    mkdir -p "$to"
    cp -a "$get/root/." "$to"
    rm -rf "$get"
}

# A rustup nightly that can build std, with a bpf-linker of the same LLVM, or else Debian's packages.
choose() {
    local root
    root=$(rustup which rustc --toolchain nightly 2>/dev/null) && root=${root%/bin/rustc}
    if [[ $root && -d $root/lib/rustlib/src/rust/library ]] && command -v bpf-linker >/dev/null; then
        toolchain="rustup's nightly"
        bpf_linker=bpf-linker
        objcopy=(env "LD_LIBRARY_PATH=$root/lib" "$root"/lib/rustlib/*/bin/rust-objcopy)
        build_core=(-Zbuild-std=core)
    else
        toolchain="Debian's Rust"
        root=/usr
        bpf_linker=$TOOLS/bin/bpf-linker
        objcopy=(/usr/lib/llvm-$LLVM/bin/llvm-objcopy)
        build_core=()
    fi
    RUSTC=$root/bin/rustc
    # What is not installed yet says no version: `need` comes back once it is.
    [[ ! -x $RUSTC ]] || flags
}

# need GOAL...: install whatever the goals (build, test, guest, vm, arm64, oci, deb, rpm, package, browser, youki, lint)
# lack; quiet when that is nothing.
need() {
    local goal
    choose
    want cc gcc
    want /usr/include/stdio.h libc6-dev
    if [[ $out == target ]]; then
        want "$musl_lib/rcrt1.o" musl-dev
    else
        want clang clang
    fi
    want cargo cargo-web
    want ld.lld lld
    if [[ $RUSTC == /usr/bin/rustc ]]; then
        want /usr/bin/rustc rustc-web
        want /usr/lib/rustlib/bpfel-unknown-none libstd-rust-web-dev-bpf
        want /usr/lib/rustlib/src/rust/library rust-web-src
        want "${objcopy[0]}" llvm-$LLVM
        [[ -x $bpf_linker ]] || {
            want /usr/lib/llvm-$LLVM/include/llvm-c llvm-$LLVM-dev
            want /usr/lib/llvm-$LLVM/lib/libPolly.a libpolly-$LLVM-dev
        }
    fi
    for goal; do
        case $goal in
        test)
            want bpftool bpftool
            want busybox busybox-static
            want clang clang
            want curl curl
            want crun crun
            want ethtool ethtool
            want file file
            want ip iproute2
            want openssl openssl
            want ps procps
            want runc runc
            want strace strace
            want systemd-analyze systemd
            want llvm-objdump llvm
            want /usr/bin/time time
            want umoci umoci
            # Debian's python3 alone makes no environment.
            [[ -x $TOOLS/schemas/bin/kubernetes-validate ]] || python3 -c 'import ensurepip' 2>/dev/null ||
                missing+=(python3-venv)
            want /usr/include/bpf/bpf_helpers.h libbpf-dev
            want /usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema golang-github-opencontainers-specs-dev
            ;;
        guest | vm)
            want qemu-system-x86_64 qemu-system-x86
            want busybox busybox-static
            want cpio cpio
            want zstd zstd
            want lz4 lz4
            want xz xz-utils
            want depmod kmod
            ;;&
        vm)
            want mmdebstrap mmdebstrap
            want mksquashfs squashfs-tools
            want mkfs.ext4 e2fsprogs
            ;;
        oci) want umoci umoci ;;
        arm64)
            want qemu-system-aarch64 qemu-system-arm
            want cpio cpio
            ;;
        fuzz) want g++ g++ ;;
        deb) want xz xz-utils ;;
        package)
            want fish fish
            want lintian lintian
            want rpm rpm
            want zsh zsh
            ;;
        browser)
            want chromium-headless-shell chromium-headless-shell
            want /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf fonts-dejavu-core
            ;;
        lint)
            want "${RUSTC%/*}/cargo-clippy" rust-web-clippy
            want rustfmt rustfmt-web
            ;;
        esac
    done
    install_missing
    [[ $out == target || -e $musl_lib/rcrt1.o ]] || step musl "Getting musl for $arch" foreign "$TOOLS/$arch" musl-dev
    [[ " $* " != *" test "* || -x $TOOLS/schemas/bin/kubernetes-validate ]] || step schemas "Installing validators of schemas" schemas
    [[ " $* " != *" lint "* ]] || command -v cargo-deny >/dev/null || build_cargo_deny
    [[ " $* " != *" deb "* ]] || command -v cargo-deb >/dev/null || build_plainly cargo-deb $CARGO_DEB --no-default-features
    [[ " $* " != *" rpm "* ]] || command -v cargo-generate-rpm >/dev/null ||
        build_plainly cargo-generate-rpm $CARGO_GENERATE_RPM
    [[ " $* " != *" youki "* ]] || command -v youki >/dev/null ||
        build_plainly youki $YOUKI --no-default-features --features v2
    [[ $bpf_linker != "$TOOLS"/* || -x $bpf_linker ]] || build_bpf_linker
    flags
}

# Unoptimised: it links two small objects, and builds in a third of the time. Both LLVM variables,
# or its build takes any other llvm-config on PATH and finds no -lLLVM.
build_bpf_linker() {
    CARGO_PROFILE_DEV_DEBUG=false LLVM_PREFIX=/usr/lib/llvm-$LLVM LLVM_SYS_221_PREFIX=/usr/lib/llvm-$LLVM RUSTC=$RUSTC \
        step bpf-linker "Building bpf-linker $BPF_LINKER with $toolchain" \
        cargo install bpf-linker --version $BPF_LINKER --locked --debug --root "$TOOLS" \
        --no-default-features --features llvm-$LLVM
}

# The published schemas of compose files and of Kubernetes come with their validators, that of OCI bundles as a package.
schemas() {
    python3 -m venv "$TOOLS/schemas"
    "$TOOLS/schemas/bin/pip" install --quiet check-jsonschema==$CHECK_JSONSCHEMA kubernetes-validate==$KUBERNETES_VALIDATE
}

# Hardly optimised, and without the parts that fetch: three minutes on two CPUs.
build_cargo_deny() {
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 RUSTC=$RUSTC \
        step cargo-deny "Building cargo-deny $CARGO_DENY with $toolchain (three minutes)" \
        cargo install cargo-deny --version $CARGO_DENY --locked --no-default-features --root "$TOOLS"
}

# build_plainly NAME VERSION FLAG...: unoptimised, since it does little: packs two dozen files, starts a few containers.
build_plainly() {
    local name=$1 version=$2
    shift 2
    CARGO_PROFILE_DEV_DEBUG=false RUSTC=$RUSTC \
        step "$name" "Building $name $version with $toolchain (one to three minutes)" \
        cargo install "$name" --version "$version" --locked --debug --root "$TOOLS" "$@"
}

# Of every lock file. Advisories only where their database is: it is a git repository of its own.
deny() {
    local manifest checks=(bans licenses sources)
    [[ ! -d ~/.cargo/advisory-db && ! -d ~/.cargo/advisory-dbs ]] || checks+=(advisories --disable-fetch)
    for manifest in Cargo.toml ebpf/Cargo.toml tests/fuzz/Cargo.toml; do
        cargo-deny --manifest-path $manifest --locked --config "$PWD/deny.toml" check "${checks[@]}"
    done
}

# --- Flags ------------------------------------------------------------------------------------

flags() {
    # build-std, immediate-abort and trim-paths are unstable: a stable compiler takes them when it is told to.
    export RUSTC RUSTC_BOOTSTRAP=1 BPFBOOT_EBPF_DIR=$PWD/$out/ebpf
    trim=(-Ztrim-paths --config 'profile.release.trim-paths="all"')

    # aya 0.16 uses one method that became stable in 1.98. Older compilers know it as a feature.
    before_1_98_rustc=() before_1_98_cargo=()
    local minor
    minor=$("$RUSTC" -V) && minor=${minor#* *.} && minor=${minor%%.*}
    ((minor >= 98)) || {
        before_1_98_rustc=('-Zcrate-attr=feature(result_option_map_or_default)' -Aunused-features)
        before_1_98_cargo=(--ignore-rust-version)
    }
}

# rustflags FLAG...: as cargo takes them, one byte 0x1f between two.
rustflags() { local IFS=$'\x1f'; printf %s "$*"; }

# The eBPF objects: BTF made by bpf-linker. It copies each source line that it can read into the object; told another
# folder it finds none. Loops of more than six turns stay loops: the verifier walks as far either way.
ebpf() {
    local command=$1 rolled=-unroll-full-max-count=6
    shift
    (cd ebpf && CARGO_ENCODED_RUSTFLAGS=$(rustflags "-Clinker=$bpf_linker" -Clink-arg=--btf --remap-path-prefix=src=ebpf \
        -Cllvm-args=$rolled -Clink-arg=--llvm-args=$rolled) \
        "$cargo" "$command" --release --target bpfel-unknown-none --target-dir "../$out/ebpf-build" \
        "${trim[@]}" "${build_core[@]}" "$@")
}

# The binary: static-pie on musl, std rebuilt for size, a panic is an abort without a message.
# cc links it: musl-gcc knows no static-pie and would leave an interpreter in it. For another machine, clang.
static() {
    local command=$1 link small linker=(-Clinker=cc)
    shift
    [[ $out == target ]] || linker=(-Clinker=clang "-Clink-arg=--target=$arch-linux-musl")
    # Of this one rustc knows no static-pie, and would link the start of one to a program that is none.
    [[ $arch != aarch64 ]] || linker+=(-Clink-arg=-Wl,-pie,--no-dynamic-linker,-z,text)
    # musl's std asks for -lunwind, of which nothing is used when a panic aborts at once.
    mkdir -p "$TOOLS/lib"
    [[ -e $TOOLS/lib/libunwind.a ]] || printf '!<arch>\n' >"$TOOLS/lib/libunwind.a"
    link=("${linker[@]}" -Clink-self-contained=no -Ctarget-feature=+crt-static "-L$TOOLS/lib" "-L$musl_lib"
        "-Zpre-link-args=-nostartfiles $musl_lib/rcrt1.o $musl_lib/crti.o" "-Clink-arg=$musl_lib/crtn.o"
        -Clink-arg=-Wl,--build-id=none -Clink-arg=-fuse-ld=lld -Clink-arg=-Wl,--icf=all,-O2)
    # Measured on the whole binary, each against all the others: the outliner 60 KB; no sinking 40 KB, without which
    # the arena's empty dealloc is not seen to be empty; small functions kept out of large ones 45 KB, because a frame
    # over 128 bytes needs four bytes an offset; Debug of derived types by name only 20 KB.
    small=(-Zlocation-detail=none -Zfmt-debug=shallow
        '-Cllvm-args=-enable-machine-outliner=always -machine-outliner-reruns=2 -sink-common-insts=false'
        '-Cllvm-args=-inline-instr-cost=100 -inline-call-penalty=500 -inline-max-stacksize=256')
    CARGO_ENCODED_RUSTFLAGS=$(rustflags "${link[@]}" -Zunstable-options -Cpanic=immediate-abort \
        -Cforce-unwind-tables=no "${small[@]}" "${before_1_98_rustc[@]}") \
        "$cargo" "$command" --release --target "$musl" --target-dir target/static \
        -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size "${trim[@]}" "${before_1_98_cargo[@]}" "$@"
}

# The host crate for this machine's own libc: tests and lints. Static, so that a test also runs in a guest.
native() {
    local command=$1
    shift
    CARGO_PROFILE_DEV_DEBUG=line-tables-only \
        CARGO_ENCODED_RUSTFLAGS=$(rustflags -Ctarget-feature=+crt-static "${before_1_98_rustc[@]}") \
        "$cargo" "$command" --target "$gnu" --target-dir target/test "${before_1_98_cargo[@]}" "$@"
}

# guest KERNEL WORDS ARG...: tests/guest in a virtual machine, with WORDS on the kernel's command line.
guest() {
    export VM_KERNEL=$1 VM_APPEND=$2
    shift 2
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/tests/vm/cargo.sh \
        native test --quiet --test guest -- --test-threads=1 "$@"
}

# The fuzz targets, counted edge by edge. No sanitizer: Debian's rustc comes without their runtimes, and `unsafe` is in
# one room only; what is looked for is panics, hangs and memory.
fuzz() {
    local command=$1
    shift
    CARGO_ENCODED_RUSTFLAGS=$(rustflags --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 "${before_1_98_rustc[@]}") \
        "$cargo" "$command" --manifest-path tests/fuzz/Cargo.toml --release --target "$gnu" --target-dir target/fuzz \
        "${before_1_98_cargo[@]}" "$@"
}

# The host crate with a loader that turns on it once it has loaded: tests/common/hostile.rs.
hostile() {
    local command=$1
    shift
    CARGO_PROFILE_DEV_DEBUG=false CARGO_ENCODED_RUSTFLAGS=$(rustflags --cfg=hostile "${before_1_98_rustc[@]}") \
        "$cargo" "$command" --bin bpfboot --target-dir target/hostile "${before_1_98_cargo[@]}" "$@"
}
