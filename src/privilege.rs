//! Letting privileges go, and proving that they are gone. The only room that uses the caps crate.
//!
//! Capabilities, securebits and `no_new_privs` belong to the calling thread, and this program has one. What was done is
//! read back from the kernel, since a drop that silently did not happen is worse than none.
//! Kernel facts in capabilities(7) and security/commoncap.c; which capability a load needs is told in DESIGN.md.

mod becoming;

use std::fmt;

use caps::{CapSet, Capability, CapsHashSet};

use crate::{
    error::{Cause, Fault},
    sys::{file, process},
};

pub use becoming::{Becoming, SETGID, SETPCAP, SETUID};

/// This thread's own status: under a thread's own narrowing, /proc/self would tell of the first thread.
const STATUS: &str = "/proc/thread-self/status";

/// Securebits of include/uapi/linux/securebits.h, each followed by its lock: uid 0 gives no capability on exec
/// (`NOROOT`), a change of uid moves none (`NO_SETUID_FIXUP`), `KEEP_CAPS` stays off, and none becomes ambient.
const SECUREBITS: u32 = 0b11 | 0b11 << 2 | 0b10 << 4 | 0b11 << 6;

/// What the loader must be able to do. All `false` is nothing at all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "a set of five, named")]
pub struct Needs {
    /// `CAP_BPF`: maps, BTF and every program.
    pub bpf: bool,
    /// `CAP_PERFMON`: tracing programs and perf events.
    pub perfmon: bool,
    /// `CAP_NET_ADMIN`: XDP programs, and maps of devices and sockets.
    pub net_admin: bool,
    /// `CAP_SYS_ADMIN`: user probes before `uprobe_multi` (6.6).
    pub sys_admin: bool,
    /// `CAP_DAC_OVERRIDE`: a pin directory that belongs to another user.
    pub dac_override: bool,
    /// A kernel before 5.8, which knows neither `CAP_BPF` nor `CAP_PERFMON`: `CAP_SYS_ADMIN` stands in for both.
    pub before_5_8: bool,
}

impl Needs {
    /// In the order in which messages name them.
    const ALL: [Capability; 5] = [
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_DAC_OVERRIDE,
    ];

    /// One bit each.
    pub fn bits(self) -> u64 {
        bits(&self.set())
    }

    fn set(self) -> CapsHashSet {
        let split = !self.before_5_8;
        let needed = [
            self.bpf && split,
            self.perfmon && split,
            self.net_admin,
            self.sys_admin || (!split && (self.bpf || self.perfmon)),
            self.dac_override,
        ];
        Self::ALL.into_iter().zip(needed).filter_map(|(one, needed)| needed.then_some(one)).collect()
    }
}

/// The capability sets of this thread, as the kernel tells them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Privileges {
    /// `CapInh`.
    pub inheritable: u64,
    /// `CapPrm`.
    pub permitted: u64,
    /// `CapEff`.
    pub effective: u64,
    /// `CapBnd`. May be left where `CAP_SETPCAP` is missing: `no_new_privs` keeps exec from drawing on it.
    pub bounding: u64,
    /// `CapAmb`.
    pub ambient: u64,
    /// `NoNewPrivs`.
    pub no_new_privs: bool,
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inheritable, permitted, effective, bounding, ambient, no_new_privs } = self;
        write!(f, "CapEff={effective:x} CapPrm={permitted:x} CapInh={inheritable:x} CapBnd={bounding:x} ")?;
        write!(f, "CapAmb={ambient:x} NoNewPrivs={}", u8::from(*no_new_privs))
    }
}

/// Whether this process holds what `needs` names, or what stands in for it.
///
/// # Errors
/// [`Cause::Privilege`]: it does not, and what is missing.
pub fn suffices(needs: Needs) -> Result<(), Fault> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(|error| failed("read the capabilities", &error))?;
    choose(needs.set(), &permitted).map(drop)
}

/// Keeps exactly what `needs` names, and closes every way back to the rest.
///
/// # Errors
/// [`Cause::Privilege`]: a needed capability is not held, or the kernel does not confirm the drop.
pub fn narrow(needs: Needs) -> Result<Privileges, Fault> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(|error| failed("read the capabilities", &error))?;
    let keep = choose(needs.set(), &permitted)?;
    let setpcap = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false);
    // Both need the capability that goes with the rest below. Neither is what the safety rests on: under no_new_privs
    // exec adds nothing, so a container that refuses them does not stop us.
    let emptied = setpcap && bound(0);
    if setpcap {
        let _ = process::set_securebits(SECUREBITS);
    }
    process::set_no_new_privs().map_err(|error| Fault::io(Cause::Privilege, "set no_new_privs", &error))?;
    // Before the others: the ambient set also shrinks with permitted and inheritable, but only where 4.3 knows it.
    let _ = caps::clear(None, CapSet::Ambient);
    let empty = CapsHashSet::new();
    // Effective before permitted, which may not shrink below it.
    for (which, set, value) in [
        ("inheritable", CapSet::Inheritable, &empty),
        ("effective", CapSet::Effective, &keep),
        ("permitted", CapSet::Permitted, &keep),
    ] {
        caps::set(None, set, value).map_err(|error| failed(&format!("reduce the {which} capabilities"), &error))?;
    }
    confirm(bits(&keep), if emptied { bits(&caps::all()) } else { 0 })
}

/// Drops every capability. The line for the report: `CapEff=0 CapPrm=0 CapInh=0 CapBnd=0 CapAmb=0 NoNewPrivs=1`.
///
/// # Errors
/// [`Cause::Privilege`]: the kernel does not confirm the drop.
pub fn drop_all() -> Result<String, Fault> {
    narrow(Needs::default()).map(|privileges| privileges.to_string())
}

/// Leaves only `keep` in the bounding set, which takes `CAP_SETPCAP`, and tells whether that is so. Nothing that is held
/// goes with it.
pub fn bound(keep: u64) -> bool {
    process::shrink_bounding_set(keep).is_ok()
}

/// The bit of a capability, by its name in capabilities(7), with `CAP_` or without.
pub fn capability(name: &str) -> Option<u64> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = caps::all().into_iter().find(|one| one.to_string().strip_prefix("CAP_") == Some(name));
    known.map(|one| one.bitmask())
}

/// The bits of a set.
pub fn bits_of(set: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|n| 1 << n).filter(move |bit| set & bit != 0)
}

/// The name of a capability, by its bit.
pub fn name(bit: u64) -> String {
    caps::all().into_iter().find(|one| one.bitmask() == bit).map(|one| one.to_string()).unwrap_or_default()
}

/// What to keep of what is held. Inside bpf(2) `CAP_SYS_ADMIN` stands in for the three that were split off it, which is
/// all that an old container runtime can give.
fn choose(needed: CapsHashSet, permitted: &CapsHashSet) -> Result<CapsHashSet, Fault> {
    const SPLIT: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];
    let (mut keep, missing): (CapsHashSet, CapsHashSet) = needed.into_iter().partition(|one| permitted.contains(one));
    if missing.is_empty() {
        return Ok(keep);
    }
    if missing.iter().all(|one| SPLIT.contains(one)) && permitted.contains(&Capability::CAP_SYS_ADMIN) {
        keep.insert(Capability::CAP_SYS_ADMIN);
        return Ok(keep);
    }
    let names: Vec<String> = Needs::ALL.iter().filter(|one| missing.contains(one)).map(ToString::to_string).collect();
    let names = names.join(" ");
    Err(Fault::new(Cause::Privilege, format!("{names} not held")).mend(format!(
        "run as root, or add {names} to the unit's AmbientCapabilities= or the container's capabilities"
    )))
}

/// Reads the sets back and holds them against what they should be; none of `emptied` may be left in the bounding set.
fn confirm(keep: u64, emptied: u64) -> Result<Privileges, Fault> {
    let status = file::text(STATUS)
        .map_err(|error| Fault::io(Cause::Privilege, format!("read {STATUS}"), &error).mend("mount /proc"))?;
    let found = parse(&status);
    let wanted = Privileges {
        permitted: keep,
        effective: keep,
        bounding: found.bounding & !emptied,
        no_new_privs: true,
        ..Privileges::default()
    };
    if found == wanted {
        return Ok(found);
    }
    Err(Fault::new(Cause::Privilege, format!("the drop did not happen: {found}, wanted {wanted}")))
}

fn parse(status: &str) -> Privileges {
    // What is not told, or cannot be read, counts as everything held, so that it is never taken for a drop. Only the
    // ambient set may be missing: it came with 4.3.
    let mut found = Privileges {
        inheritable: u64::MAX,
        permitted: u64::MAX,
        effective: u64::MAX,
        bounding: u64::MAX,
        ambient: 0,
        no_new_privs: false,
    };
    for line in status.lines() {
        let Some((name, value)) = line.split_once(":\t") else { continue };
        let mask = u64::from_str_radix(value, 16).unwrap_or(u64::MAX);
        match name {
            "CapInh" => found.inheritable = mask,
            "CapPrm" => found.permitted = mask,
            "CapEff" => found.effective = mask,
            "CapBnd" => found.bounding = mask,
            "CapAmb" => found.ambient = mask,
            "NoNewPrivs" => found.no_new_privs = value == "1",
            _ => {}
        }
    }
    found
}

fn bits(set: &CapsHashSet) -> u64 {
    set.iter().fold(0, |bits, one| bits | one.bitmask())
}

fn failed(deed: &str, error: &caps::errors::CapsError) -> Fault {
    Fault::new(Cause::Privilege, format!("{deed}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn held() -> u64 {
        caps::read(None, CapSet::Effective).map_or(0, |set| bits(&set))
    }

    /// What is let go of in a thread is let go of by that thread alone.
    fn in_a_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(run).join().unwrap()
    }

    fn now() -> Privileges {
        parse(&std::fs::read_to_string(STATUS).unwrap())
    }

    #[test]
    fn nothing_is_left_after_the_drop() {
        let had_setpcap = held() & Capability::CAP_SETPCAP.bitmask() != 0;
        let (line, found, again) = in_a_thread(|| (drop_all().unwrap(), now(), drop_all()));
        let bounding = found.bounding;
        assert_eq!(found, Privileges { bounding, no_new_privs: true, ..Privileges::default() });
        assert_eq!(line, found.to_string());
        assert!(!had_setpcap || line == "CapEff=0 CapPrm=0 CapInh=0 CapBnd=0 CapAmb=0 NoNewPrivs=1", "{line}");
        assert_eq!(again, Ok(line), "a second drop finds nothing to do");
    }

    #[test]
    fn exactly_the_needs_are_kept() {
        let needs = Needs { bpf: true, net_admin: true, ..Needs::default() };
        let wanted = bits(&needs.set());
        if held() & wanted != wanted {
            return;
        }
        let found = in_a_thread(move || narrow(needs).unwrap());
        assert_eq!((found.permitted, found.effective, found.inheritable, found.ambient), (wanted, wanted, 0, 0));
        assert_eq!(wanted, 1 << 39 | 1 << 12);
        // What was let go of does not come back, and the message says what to do.
        let fault = in_a_thread(move || {
            drop_all().unwrap();
            narrow(Needs { perfmon: true, ..needs }).unwrap_err()
        });
        assert_eq!(fault.what, "CAP_BPF CAP_PERFMON CAP_NET_ADMIN not held");
        assert!(fault.mend.contains("AmbientCapabilities="));
    }

    #[test]
    fn a_child_of_a_dropped_thread_stays_dropped() {
        // Root that executes a program gets every capability back, unless no_new_privs or NOROOT says otherwise.
        let status = in_a_thread(|| {
            drop_all().unwrap();
            std::process::Command::new("cat").arg("/proc/self/status").output().unwrap().stdout
        });
        let found = parse(&String::from_utf8(status).unwrap());
        assert_eq!((found.permitted, found.effective, found.no_new_privs), (0, 0, true));
    }

    #[test]
    fn sys_admin_stands_in() {
        let needs = Needs { bpf: true, perfmon: true, net_admin: true, ..Needs::default() };
        let admin = CapsHashSet::from([Capability::CAP_SYS_ADMIN]);
        assert_eq!(choose(needs.set(), &admin), Ok(admin.clone()));
        assert_eq!(choose(Needs::default().set(), &admin), Ok(CapsHashSet::new()));
        assert!(choose(Needs { dac_override: true, ..needs }.set(), &admin).is_err());
        assert_eq!(Needs { bpf: true, before_5_8: true, ..Needs::default() }.set(), admin);
    }

    #[test]
    fn an_unreadable_status_is_no_drop() {
        let none = parse("");
        assert_eq!((none.permitted, none.effective, none.no_new_privs), (u64::MAX, u64::MAX, false));
        let found = parse("Name:\tx\nCapInh:\tzz\nCapPrm:\t000001ffffffffff\nCapEff:\t0\nCapBnd:\t0\nNoNewPrivs:\t1\n");
        assert_eq!((found.inheritable, found.permitted, found.effective), (u64::MAX, (1 << 41) - 1, 0));
        assert!(found.no_new_privs);
    }
}
