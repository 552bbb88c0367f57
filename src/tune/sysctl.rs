//! Keys under /proc/sys: looked at, judged, written with one write(2), read back, put back.

mod explain;
mod glob;
mod judge;
mod others;
mod rules;
mod value;

use std::{io, path::Path, sync::OnceLock};

pub use judge::{Ask, Seen, described, judge, satisfied};
pub use others::Others;
pub use rules::about;
pub use value::same;

use crate::{
    config::{Goal, SysctlKey},
    error::{Cause, Fault},
    facts::{CAP_NET_ADMIN, Facts},
    step::Verdict,
    sys::file::{Dir, PROC_MAGIC, errno},
    tune,
};

/// One descriptor for the whole run. The key is looked up in the namespace of whoever opens it, so it does not matter
/// where the directory was opened (proc_sys_compare() in fs/proc/proc_sysctl.c).
static PROC_SYS: OnceLock<Dir> = OnceLock::new();

fn proc_sys() -> Result<&'static Dir, Fault> {
    if let Some(dir) = PROC_SYS.get() {
        return Ok(dir);
    }
    let dir = Dir::open(Path::new("/proc/sys"), PROC_MAGIC).map_err(|e| explain::no_proc_sys(&e))?;
    Ok(PROC_SYS.get_or_init(|| dir))
}

/// The keys behind a pattern, sorted; a key without a pattern in it is itself, there or not.
pub fn expand(key: &SysctlKey) -> Vec<SysctlKey> {
    if !key.is_glob() {
        return vec![key.clone()];
    }
    proc_sys().map(|dir| glob::walk(dir, key)).unwrap_or_default()
}

/// The key whose value decides together with this one's; its goal in the same plan belongs into [`Ask::partner`].
pub fn partner(key: &SysctlKey) -> Option<&'static str> {
    rules::partner(key.path())
}

/// Whether reading it takes CAP_SYS_ADMIN (proc_dointvec_minmax_bpf_restricted() in net/core/sysctl_net_core.c).
pub fn is_secret(key: &SysctlKey) -> bool {
    matches!(key.path(), "net/core/bpf_jit_harden" | "net/core/bpf_jit_kallsyms" | "net/core/bpf_jit_limit")
}

/// The value there now, as [`Verdict`] shows it; `None` when it can only be written, or is no text.
///
/// # Errors
/// Why it cannot be read; see [`tune::is_absence`].
pub fn current(key: &SysctlKey, facts: &Facts) -> Result<Option<String>, Fault> {
    Ok(look(proc_sys()?, key.path(), facts)?.as_deref().map(value::shown))
}

/// Whether each network namespace has a value of its own, as far as the name tells.
pub fn of_netns(key: &SysctlKey) -> bool {
    key.path().starts_with("net/") && !rules::initial_netns_only(key.path())
}

/// Looks at the key and says what reaching the goal would take. Writes nothing.
pub fn survey(key: &SysctlKey, goal: &Goal, ask: Ask<'_>, facts: &Facts) -> Verdict {
    surveyed(key, goal, ask, facts).unwrap_or_else(Verdict::Blocked)
}

/// Judges the goal for a kernel that does not run, by what its other keys begin with.
pub fn foresee(key: &SysctlKey, goal: &Goal, ask: Ask<'_>) -> Verdict {
    let partner = rules::partner(key.path()).map(|other| if other == rules::PARANOID { 2 } else { 0 });
    judge::foresee(key, goal, Seen { current: None, partner }, ask)
}

fn surveyed(key: &SysctlKey, goal: &Goal, ask: Ask<'_>, facts: &Facts) -> Result<Verdict, Fault> {
    let dir = proc_sys()?;
    let path = key.path();
    let current = look(dir, path, facts)?;
    let partner = rules::partner(path).and_then(|other| value::single(&dir.read(other).ok()??));
    let verdict = judge(key, goal, Seen { current: current.as_deref(), partner }, ask);
    if let Verdict::Change { now, .. } = &verdict {
        if let Some(number) = rules::capability(path) {
            tune::needs(facts, &format!("write \"{now}\""), number)?;
        }
        // Opening asks for mode, namespace and a read-only mount; a sysctl notices nothing before it is written.
        dir.try_open_for_writing(path).map_err(|e| explain::unwritable(path, &e, facts))?;
        if path == rules::CONGESTION {
            check_congestion(dir, now, facts)?;
        }
    }
    Ok(verdict)
}

fn look(dir: &Dir, path: &str, facts: &Facts) -> Result<Option<String>, Fault> {
    match dir.read(path) {
        Ok(text) => Ok(text),
        Err(error) if is_write_only(dir, path, &error) => Ok(None),
        Err(error) => Err(explain::unreadable(path, &error, facts)),
    }
}

/// Some keys are a button and not a value: vm.compact_memory and net.ipv4.route.flush have mode 0200.
fn is_write_only(dir: &Dir, path: &str, error: &io::Error) -> bool {
    errno(error) == libc::EACCES && dir.mode(path).is_ok_and(|mode| mode & 0o444 == 0)
}

/// The write itself loads the algorithm's module; this only sees where no module can come.
fn check_congestion(dir: &Dir, wanted: &str, facts: &Facts) -> Result<(), Fault> {
    let Ok(Some(listed)) = dir.read("net/ipv4/tcp_available_congestion_control") else {
        return Ok(());
    };
    let modules = dir.mode("kernel/modprobe").is_ok()
        && facts.has_cap(CAP_NET_ADMIN)
        && !matches!(dir.read("kernel/modules_disabled"), Ok(Some(text)) if text.trim() == "1");
    if modules || listed.split_whitespace().any(|name| name == wanted.trim()) {
        return Ok(());
    }
    let what =
        format!("\"{wanted}\" is not built in and no module can be loaded; there are: {}", value::shown(&listed));
    Err(Fault::os(Cause::Kernel, what, libc::ENOENT))
}

/// Writes the value and reads it back: what is there then, and a note where it is not the text that was written.
///
/// # Errors
/// The write failed, or the kernel kept another value than asked for. The old value is there again; where that could
/// not be had either, the fault's detail says so.
pub fn apply(key: &SysctlKey, goal: &Goal, now: &str) -> Result<(String, String), Fault> {
    let dir = proc_sys()?;
    let before = dir.read(key.path()).ok().flatten();
    write(dir, key, now).and_then(|()| read_back(dir, key, goal, now)).map_err(|fault| put_right(key, before, fault))
}

fn read_back(dir: &Dir, key: &SysctlKey, goal: &Goal, now: &str) -> Result<(String, String), Fault> {
    let path = key.path();
    match dir.read(path) {
        Ok(Some(text)) if same(&text, now) => Ok((value::shown(&text), String::new())),
        Ok(Some(text)) if satisfied(path, goal, &text) => {
            Ok((value::shown(&text), format!("wrote \"{now}\", the kernel made it \"{}\"", value::shown(&text))))
        }
        Ok(Some(text)) => {
            Err(Fault::new(Cause::Sysctl, format!("asked \"{now}\", the kernel kept \"{}\"", value::shown(&text))))
        }
        Ok(None) => Ok((now.to_owned(), "too long or no text: not read back".into())),
        Err(error) if is_write_only(dir, path, &error) => {
            Ok((now.to_owned(), "write-only: neither read back nor undone".into()))
        }
        Err(error) => Err(Fault::io(Cause::Sysctl, format!("wrote \"{now}\", read back"), &error)),
    }
}

/// A clamped value or half a write is not what anybody asked for: a key that failed is as it was.
fn put_right(key: &SysctlKey, before: Option<String>, fault: Fault) -> Fault {
    if let Some(Err(error)) = before.map(|text| restore(key, &value::shown(&text))) {
        return fault.detail(format!("and it is no longer as before: {error}"));
    }
    fault
}

fn write(dir: &Dir, key: &SysctlKey, text: &str) -> Result<(), Fault> {
    dir.write(key.path(), text).map_err(|error| {
        let current = dir.read(key.path()).ok().flatten();
        explain::write_failed(key, text, current.as_deref(), &error)
    })
}

/// Puts a value back, and makes sure of it. Writes nothing where it is there already.
///
/// # Errors
/// The write failed, or the kernel kept another value.
pub fn restore(key: &SysctlKey, was: &str) -> Result<(), Fault> {
    let dir = proc_sys()?;
    let read = || dir.read(key.path()).ok().flatten();
    if read().is_some_and(|text| same(&text, was)) {
        return Ok(());
    }
    write(dir, key, was)?;
    match read() {
        Some(text) if !same(&text, was) => {
            Err(Fault::new(Cause::Sysctl, format!("put back \"{was}\", the kernel kept \"{}\"", value::shown(&text))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
