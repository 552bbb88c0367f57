//! Becoming somebody else for good: the user, the groups and the few capabilities that a command is given.

use std::{
    fs::File,
    io::{Read, Seek},
};

use caps::{CapSet, CapsHashSet};

use super::{Privileges, SECUREBITS, STATUS, bits_of, failed, name, parse};
use crate::{
    account::Account,
    error::{Cause, Fault},
    sys::{ids, process},
};

/// `CAP_SETGID`.
pub const SETGID: u64 = 1 << 6;
/// `CAP_SETUID`.
pub const SETUID: u64 = 1 << 7;
/// `CAP_SETPCAP`.
pub const SETPCAP: u64 = 1 << 8;

/// Whom to become, and what that takes.
#[derive(Debug)]
pub struct Becoming {
    /// The user and groups.
    pub account: Account,
    /// The capabilities to keep, one bit each.
    keep: u64,
    /// The capabilities it takes.
    needs: u64,
    /// `SETPCAP` where it is held: the securebits can be locked then.
    setpcap: u64,
    /// What the kernel will say of us.
    pub told: String,
    /// Where it says so. Opened before: who we are then may not walk there.
    status: File,
}

impl Becoming {
    /// Looks whether it can be done, before anything is.
    ///
    /// # Errors
    /// [`Cause::Privilege`]: what is missing, and what for.
    pub fn new(account: Account, keep: u64) -> Result<Self, Fault> {
        let mut file = File::open(STATUS).map_err(|e| unread(&e).mend("mount /proc"))?;
        let status = read(&mut file)?;
        let (now, Account { uid, gid, groups }) = (parse(&status), &account);
        let groups_now = words(&status, "Groups:");
        let groups_then = groups.as_ref().map_or_else(|| groups_now.clone(), |groups| shown(groups));
        let is = |name, id: &u32| words(&status, name) == four(*id);
        let (mut needs, mut missing) = (keep, String::new());
        for (bit, needed) in [
            (SETUID, !is("Uid:", uid)),
            (SETGID, !is("Gid:", gid) || groups_now != groups_then),
            (SETPCAP, now.bounding & !keep != 0),
        ] {
            needs |= if needed { bit } else { 0 };
        }
        for bit in bits_of(needs & !now.permitted) {
            let why = match bit {
                _ if keep & bit != 0 => "to keep it, as [run] says",
                SETUID => "to become the user of [run]",
                SETGID => "to enter the groups of [run]",
                _ => "to empty the bounding set and lock the securebits",
            };
            missing += &format!("{} not held, {why}; ", name(bit));
        }
        if !missing.is_empty() {
            return Err(Fault::new(Cause::Privilege, missing.trim_end_matches("; "))
                .mend("add what the container lacks: bpfboot caps prints all that this configuration needs"));
        }
        let then = Privileges {
            inheritable: keep,
            permitted: keep,
            effective: keep,
            bounding: now.bounding & keep,
            ambient: keep,
            no_new_privs: true,
        };
        let setpcap = now.permitted & SETPCAP;
        let securebits = if setpcap == 0 { process::securebits() } else { SECUREBITS };
        let told = tale(&uid.to_string(), &gid.to_string(), &groups_then, then, securebits);
        Ok(Self { account, keep, needs, setpcap, told, status: file })
    }

    /// Does it, in this thread, and reads back from the kernel that it is as it was told.
    ///
    /// # Errors
    /// [`Cause::Privilege`]: the kernel refused, or does not confirm it. This thread must then run nothing.
    pub fn complete(&mut self) -> Result<(), Fault> {
        let Self { account: Account { uid, gid, groups }, keep, needs, setpcap, told, status: file } = self;
        let deed = |what: &str, done: std::io::Result<()>| {
            done.map_err(|error| Fault::io(Cause::Privilege, what.to_owned(), &error))
        };
        let needs = *needs;
        if needs & SETPCAP != 0 {
            deed("empty the bounding set", process::shrink_bounding_set(*keep))?;
        }
        if needs & SETGID != 0 {
            deed("set the groups", groups.as_ref().map_or(Ok(()), |groups| ids::set_groups(groups)))?;
            deed("set the group", ids::set_gid(*gid))?;
        }
        if needs & SETUID != 0 {
            deed("set the user", ids::set_uid(*uid))?;
        }
        set("effective", CapSet::Effective, *keep | *setpcap)?;
        set("inheritable", CapSet::Inheritable, *keep)?;
        // Also for root, to which exec gives nothing under NOROOT; and before the securebits say that none is added.
        let _ = caps::clear(None, CapSet::Ambient);
        for one in of_bits(*keep) {
            caps::raise(None, CapSet::Ambient, one).map_err(|e| failed("set the ambient capabilities", &e))?;
        }
        if *setpcap != 0 {
            deed("lock the securebits", process::set_securebits(SECUREBITS))?;
        }
        set("effective", CapSet::Effective, *keep)?;
        set("permitted", CapSet::Permitted, *keep)?;
        deed("set no_new_privs", process::set_no_new_privs())?;
        let status = read(file)?;
        let [uids, gids, groups] = ["Uid:", "Gid:", "Groups:"].map(|name| words(&status, name));
        let found = tale(one_of_four(&uids), one_of_four(&gids), &groups, parse(&status), process::securebits());
        if found == *told {
            return Ok(());
        }
        Err(Fault::new(Cause::Privilege, format!("the drop did not happen: {found}, wanted {told}")))
    }
}

/// Real, effective, saved and of file systems, as the status shows them.
fn four(id: u32) -> String {
    [id; 4].map(|id| id.to_string()).join(",")
}

/// The one that all four are, or else all of them.
fn one_of_four(ids: &str) -> &str {
    let first = ids.split(',').next().unwrap_or_default();
    if first.parse().is_ok_and(|id| four(id) == ids) { first } else { ids }
}

fn tale(uids: &str, gids: &str, groups: &str, privileges: Privileges, securebits: u32) -> String {
    format!("uid={uids} gid={gids} groups={groups} {privileges} securebits={securebits:x}")
}

fn set(name: &str, which: CapSet, value: u64) -> Result<(), Fault> {
    caps::set(None, which, &of_bits(value)).map_err(|error| failed(&format!("set the {name} capabilities"), &error))
}

fn read(file: &mut File) -> Result<String, Fault> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(|e| unread(&e))?;
    Ok(text)
}

fn unread(error: &std::io::Error) -> Fault {
    Fault::io(Cause::Privilege, format!("read {STATUS}"), error)
}

/// The words behind a name in the status, a comma between two.
fn words(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>().join(",")
}

/// Groups as the kernel shows them: in order (groups_sort() in kernel/groups.c).
fn shown(groups: &[u32]) -> String {
    let mut sorted: Vec<u32> = Vec::with_capacity(groups.len());
    for group in groups {
        sorted.insert(sorted.partition_point(|one| one <= group), *group);
    }
    sorted.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn of_bits(set: u64) -> CapsHashSet {
    caps::all().into_iter().filter(|one| set & one.bitmask() != 0).collect()
}
