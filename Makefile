# bpfboot. `make help` lists the targets; .ci/toolchain.sh holds the toolchain and its flags.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := build
.PHONY: build objects arm64 arm64-test test-objects run test vm-test vm-units power-test fault-test loss-test browser-test youki-test race-test image sysext small oci initramfs-test lint fuzz fuzz-min
.PHONY: bench install deb rpm package-test clean help
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr
# Where zsh looks: vendor-completions on Debian.
ZSH ?= site-functions
ARGS ?=
KERNEL ?= 5.10 6.1 6.12 new uml
HARNESS ?=
TARGET ?= object config pipe journal layouts
SECONDS ?= 600

build: objects ## the static binary target/bpfboot, its eBPF objects inside
	. .ci/toolchain.sh
	need build
	step static "Building $$out/bpfboot with $$toolchain" static build
	built=target/static/$$musl/release/bpfboot
	cmp -s "$$built" "$$out/bpfboot" || {
		install -m 755 "$$built" "$$out/bpfboot"
		printf '%s/bpfboot: %s bytes\n' "$$out" "$$(stat -c %s "$$out/bpfboot")"
	}

objects:
	. .ci/toolchain.sh
	need build
	step ebpf "Building the eBPF objects with $$toolchain" ebpf build
	mkdir -p "$$out/ebpf"
	for name in edge trace reads; do
		built=$$out/ebpf-build/bpfel-unknown-none/release/$$name object=$$out/ebpf/$$name.bpf.o
		[[ $$object -nt $$built ]] || OBJCOPY="$${objcopy[*]}" ebpf/lean "$$built" "$$object"
	done

run: build ## build, then apply the embedded default (needs root)
	target/bpfboot apply $(ARGS)

test-objects:
	. .ci/toolchain.sh
	need test
	mkdir -p target/test-objects
	shopt -s nullglob
	for source in tests/objects/*.bpf.c; do
		object=target/test-objects/$$(basename "$$source" .c).o
		[[ $$object -nt $$source ]] ||
			clang -g -O2 -target bpf -I"/usr/include/$$(cc -print-multiarch)" -c "$$source" -o "$$object"
	done

arm64: ## the same for arm64, on any machine: target/aarch64/bpfboot
	ARCH=aarch64 $(MAKE) build

arm64-test: arm64 ## slow, three minutes: it boots Debian's kernels for arm64, and loads, proves and undoes there
	ARCH=aarch64 tests/vm/arm64.sh

test: build test-objects ## build, then every test, a short one in a virtual machine, too (needs root); ARGS="--test NAME" for some
	. .ci/toolchain.sh
	need test guest
	[[ "$(ARGS)" == *--@(test|lib)* && "$(ARGS)" != *container* ]] || $(MAKE) small
	export BPFBOOT=$$PWD/target/bpfboot BPFBOOT_HOSTILE=$$PWD/target/hostile/debug/bpfboot
	step hostile "Building a bpfboot whose loader turns on it" hostile build
	step tests "Building the tests with $$toolchain" native test --no-run $(ARGS)
	native test $(ARGS) -- --test-threads=1 $(HARNESS)
	[[ "$(ARGS)" ]] || guest 6.1 "" a_kprobe native_xdp_on_virtio row_35

vm-test: build test-objects ## slow, ten minutes: each kernel of tests/vm booted several times (needs root); KERNEL=6.1 for one
	tests/vm/matrix.sh $(KERNEL)

fault-test: ## slow, half an hour: every system call of five runs killed and failing; SEED=1 EVERY=3 for a third, CASE=n for one
	export FAULT_SEED=$(SEED) FAULT_EVERY=$(EVERY) FAULT_CASE=$(CASE)
	$(MAKE) test ARGS="--test fault" HARNESS="--ignored --nocapture"

loss-test: ## slow, a quarter of a minute: a million opens with a slow reader, each one told or counted as lost
	$(MAKE) test ARGS="--test loss" HARNESS="--ignored --nocapture million"

browser-test: ## slow, half a minute: the pictures of `report --svg` looked at in a browser, light and dark: target/pictures
	. .ci/toolchain.sh
	need browser
	$(MAKE) test ARGS="--test report" HARNESS="--ignored --nocapture"

youki-test: ## slow, two minutes: the containers of `make test` by youki, too (needs root)
	. .ci/toolchain.sh
	need youki
	BPFBOOT_RUNTIMES=youki $(MAKE) test ARGS="--test run --test container --test render"

race-test: ## slow, a minute: ten runs at once, 200 times
	$(MAKE) test ARGS="--test race" HARNESS="--ignored --nocapture"

vm-units: build test-objects ## slow, five minutes: the units in machines that boot (needs root); KERNEL=6.1 CHECK="boot gate sealed replug time agent" for some
	. .ci/toolchain.sh
	need vm test
	tests/vm/units.sh $(if $(filter file,$(origin KERNEL)),6.1,$(KERNEL)) $(CHECK)

power-test: build ## slow, half an hour: the power is cut at 50 moments of a first boot (needs root); SEED=1 CUTS=5 KERNEL=6.1
	. .ci/toolchain.sh
	need vm test
	SEED=$(SEED) CUTS=$(CUTS) tests/vm/units.sh $(if $(filter file,$(origin KERNEL)),6.1,$(KERNEL)) power

image: build ## an immutable image of Debian with bpfboot in it (needs root); image/build.sh says what can be chosen
	. .ci/toolchain.sh
	need test vm
	image/build.sh

sysext: build ## bpfboot as an extension of a read-only /usr (systemd-sysext)
	. .ci/toolchain.sh
	need vm
	image/sysext.sh

small: objects ## the binary without the verbs of a build machine: target/bpfboot-small
	. .ci/toolchain.sh
	need build
	step small "Building target/bpfboot-small with $$toolchain" static build --no-default-features
	install -m 755 target/static/$$musl/release/bpfboot target/bpfboot-small

oci: small ## an OCI image with nothing but the small static binary in it: target/oci
	image/oci.sh

initramfs-test: ## slow, twenty minutes: initramfs of each generator, and the image, booted in QEMU
	. .ci/toolchain.sh
	need vm
	$(MAKE) test ARGS="--test initramfs $(ARGS)" HARNESS="--ignored --nocapture"

lint: objects ## formatting, clippy and cargo-deny; a warning is an error
	. .ci/toolchain.sh
	need lint
	cargo fmt --check
	cargo fmt --check --manifest-path ebpf/Cargo.toml
	cargo=$${RUSTC%/*}/cargo-clippy
	native clippy --all-targets -- -D warnings
	ebpf clippy -- -D warnings
	step deny "Looking at licences and sources of all dependencies" deny

fuzz: objects ## the fuzz targets, 10 minutes each, two at once (slow: 30 minutes); TARGET=NAME SECONDS=600 for less
	. .ci/toolchain.sh
	need fuzz
	step fuzz "Building the fuzz targets with $$toolchain" fuzz build
	echo "==> Fuzzing $(TARGET), $(SECONDS) s each, two at once (logs: target/fuzz/TARGET.log)"
	printf '%s\n' $(TARGET) | FUZZERS=$$fuzzers xargs -P 2 -I {} tests/fuzz/run.sh {} $(SECONDS)

fuzz-min: ## only what covers something stays in tests/fuzz/corpus, of what was found, too
	. .ci/toolchain.sh
	need fuzz
	step fuzz "Building the fuzz targets with $$toolchain" fuzz build
	for target in $(TARGET); do FUZZERS=$$fuzzers tests/fuzz/run.sh "$$target" minimise; done

bench: build ## the measurements in benches/
	for bench in benches/*.sh; do "$$bench"; done

deb: build ## a Debian package of what `make install` installs; MAINTAINER="NAME <MAIL>"
	. .ci/toolchain.sh
	need deb
	MAINTAINER="$(MAINTAINER)" packages/build.sh deb

rpm: build ## the same as an RPM
	. .ci/toolchain.sh
	need rpm
	packages/build.sh rpm

package-test: ## slow, two minutes: both packages looked at, installed and removed, and the deb at work in a guest; KERNEL=6.1
	. .ci/toolchain.sh
	need test guest vm package
	$(MAKE) deb rpm
	tests/packages/run.sh $(if $(filter file,$(origin KERNEL)),,$(KERNEL))

install: ## install what was built; DESTDIR= PREFIX=/usr
	to=$(DESTDIR)$(PREFIX)
	[[ -x target/bpfboot ]] || { echo "nothing is built yet: make" >&2; exit 1; }
	install -Dm 755 target/bpfboot "$$to/bin/bpfboot"
	install -Dm 644 CHANGELOG.md -t "$$to/share/doc/bpfboot"
	install -Dm 644 completions/bpfboot.bash "$$to/share/bash-completion/completions/bpfboot"
	install -Dm 644 completions/_bpfboot "$$to/share/zsh/$(ZSH)/_bpfboot"
	install -Dm 644 completions/bpfboot.fish "$$to/share/fish/vendor_completions.d/bpfboot.fish"
	shopt -s nullglob
	for page in man/*.[58]; do install -Dm 644 "$$page" "$$to/share/man/man$${page##*.}/$${page##*/}"; done
	place() { install -Dm "$$1" "$$2" "$$to/lib/$$3/$${2##*/}"; }
	for unit in units/*.{service,timer}; do place 644 "$$unit" systemd/system; done
	place 644 units/90-bpfboot.preset systemd/system-preset
	place 644 units/90-bpfboot.rules udev/rules.d
	place 644 units/bpfboot.conf tmpfiles.d
	place 755 units/50-bpfboot.sh greenboot/check/required.d
	place 644 initramfs/bpfboot-initramfs.service systemd/system
	install -Dm 755 initramfs/{into,in}-initramfs -t "$$to/lib/bpfboot"
	install -Dm 755 initramfs/dracut/95bpfboot/* -t "$$to/lib/dracut/modules.d/95bpfboot"
	for script in hooks scripts/init-bottom; do
		install -Dm 755 "initramfs/initramfs-tools/$$script/bpfboot" "$$to/share/initramfs-tools/$$script/bpfboot"
	done
	for part in install hooks; do
		install -Dm 644 "initramfs/mkinitcpio/$$part/bpfboot" "$$to/lib/initcpio/$$part/bpfboot"
	done
	for file in bpfboot.toml.example* LICENSE*; do install -Dm 644 "$$file" "$$to/share/doc/bpfboot/$$file"; done

clean: ## remove what was built, but not the toolchain
	[[ ! -d target ]] || find target -mindepth 1 -maxdepth 1 ! -name toolchain -exec rm -rf {} +

help: ## this list
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
