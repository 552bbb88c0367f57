//! The machine, looked at for what would refuse a run.

use crate::{
    config::LimitKind,
    error::{Cause, Fault},
    facts::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, Facts, Lockdown},
    gate, privilege,
    reason::{Call, Reason},
    report::{Line, Status},
    step::{Must, Phase},
    sys::{ask, file, limit},
};

const PIN_ROOT: &str = "/sys/fs/bpf";

/// What would refuse a run of any configuration that loads something.
pub fn findings(facts: &Facts) -> Vec<Line> {
    let mut found: Vec<(&str, Fault)> = Vec::new();
    if !facts.proc_mounted() {
        let fault = Fault::new(Cause::Mount, "/proc is not mounted").by(Reason::NotMounted);
        found.push(("proc", fault.mend("mount -t proc proc /proc")));
    }
    let held = |capability| facts.has_cap(capability) || facts.has_cap(CAP_SYS_ADMIN);
    for number in [CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN].into_iter().filter(|number| !held(*number)) {
        let fault = Fault::new(Cause::Privilege, format!("{} is not held", privilege::name(1 << number)));
        found.push(("privileges", fault.by(Reason::Capability)));
    }
    if held(CAP_BPF)
        && let Err(error) = ask::plain_program()
    {
        let fault = Fault::io(Cause::Privilege, "a plain program is not loaded", &error);
        let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS));
        found.push(("bpf", if refused { fault.refused(Call::Program) } else { fault.because(Cause::Kernel) }));
    }
    match file::fs_magic(PIN_ROOT.as_ref()) {
        Ok(file::BPF_MAGIC) if is_read_only(PIN_ROOT) => {
            let fault = Fault::os(Cause::Mount, format!("{PIN_ROOT} is mounted read-only"), libc::EROFS);
            found.push(("bpffs", fault.mend(format!("mount -o remount,rw {PIN_ROOT}"))));
        }
        Ok(file::BPF_MAGIC) => {}
        _ => {
            let fault = Fault::new(Cause::Mount, format!("no bpffs is mounted on {PIN_ROOT}")).by(Reason::NotMounted);
            found.push(("bpffs", fault.mend("[mounts] bpffs = true")));
        }
    }
    if is_read_only("/proc/sys") {
        let fault = Fault::os(Cause::Mount, "/proc/sys is mounted read-only", libc::EROFS);
        found.push(("sysctl", fault));
    }
    if !facts.btf {
        let fault = Fault::new(Cause::Kernel, "there is no /sys/kernel/btf/vmlinux").by(Reason::NoBtf);
        found.push(("btf", fault));
    }
    let line = |(id, fault): (&str, Fault)| Line {
        fault: Some(gate::explained(fault, facts)),
        ..Line::new(id, Phase::Settle, Must::Required, Status::Failed)
    };
    found.into_iter().map(line).collect()
}

/// The gates of this machine, as they are now.
pub fn facts(facts: &Facts) -> Vec<String> {
    let mut lines = vec![format!("Linux {}", facts.release)];
    let held = [CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN].into_iter().filter(|number| facts.has_cap(*number));
    let held: Vec<String> = held.map(|number| privilege::name(1 << number)).collect();
    lines.push(format!("this process holds {}", if held.is_empty() { "none of them".into() } else { held.join(" ") }));
    lines.extend(facts.seccomp.then(|| "a seccomp filter lies over this process".to_owned()));
    lines.push(match facts.lockdown {
        Lockdown::None => "no lockdown is known".into(),
        Lockdown::Integrity => "locked down: integrity".into(),
        Lockdown::Confidentiality => "locked down: confidentiality".into(),
    });
    if let Ok(modules) = file::text("/sys/kernel/security/lsm") {
        lines.push(format!("security modules: {}", modules.trim_end()));
    }
    for key in ["kernel/unprivileged_bpf_disabled", "kernel/perf_event_paranoid", "net/core/bpf_jit_limit"] {
        if let Ok(value) = file::text(format!("/proc/sys/{key}")) {
            lines.push(format!("{} = {}", key.replace('/', "."), value.trim_end()));
        }
    }
    if facts.charges_memlock()
        && let Ok((soft, hard)) = limit::get(LimitKind::Memlock)
    {
        lines.push(format!("RLIMIT_MEMLOCK, to which this kernel charges BPF: {soft}, at most {hard}"));
    }
    lines
}

/// Whether the mount that holds the path is read-only, by the last line of mountinfo that tells of that place.
fn is_read_only(path: &str) -> bool {
    let mounts = file::text("/proc/self/mountinfo").unwrap_or_default();
    let of_path = mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some(path));
    of_path.and_then(|line| line.split(' ').nth(5)).is_some_and(|options| options.split(',').any(|one| one == "ro"))
}
