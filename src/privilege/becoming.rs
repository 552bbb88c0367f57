//! Becoming somebody else for good: the user, the groups and the few capabilities that a command is given.

use caps::{CapSet, CapsHashSet};

use super::{Privileges, SECUREBITS, STATUS, bits_of, failed, name, parse};
use crate::{
    account::Account,
    error::{Cause, Fault},
    sys::{file, ids, process},
};

/// `CAP_SETGID`.
pub const SETGID: u64 = 1 << 6;
/// `CAP_SETUID`.
pub const SETUID: u64 = 1 << 7;
/// `CAP_SETPCAP`.
pub const SETPCAP: u64 = 1 << 8;

/// Whom to become.
#[derive(Clone, Debug)]
pub struct Becoming {
    /// The user and groups.
    pub account: Account,
    /// The capabilities to keep, one bit each.
    pub keep: u64,
}

impl Becoming {
    /// What it takes, one bit each, with its reason.
    fn needs(&self, status: &str) -> Vec<(u64, &'static str)> {
        let Account { uid, gid, groups } = &self.account;
        let is = |name, id: &u32| words(status, name).iter().all(|one| *one == id.to_string());
        let grouped = is("Gid:", gid) && groups.as_ref().is_none_or(|groups| shown(groups) == words(status, "Groups:"));
        let mut needs = Vec::new();
        if !is("Uid:", uid) {
            needs.push((SETUID, "to become the user of [run]"));
        }
        if !grouped {
            needs.push((SETGID, "to enter the groups of [run]"));
        }
        if parse(status).bounding & !self.keep != 0 {
            needs.push((SETPCAP, "to empty the bounding set and lock the securebits"));
        }
        needs.extend(bits_of(self.keep).map(|bit| (bit, "to keep it, as [run] says")));
        needs
    }

    /// Whether it can be done, before anything is.
    ///
    /// # Errors
    /// [`Cause::Privilege`]: what is missing, and what for.
    pub fn possible(&self) -> Result<(), Fault> {
        let status = status()?;
        let (permitted, mut missing) = (parse(&status).permitted, String::new());
        for (bit, why) in self.needs(&status) {
            if permitted & bit == 0 {
                missing += &format!("{} not held, {why}; ", name(bit));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Fault::new(Cause::Privilege, missing.trim_end_matches("; "))
            .mend("add what the container lacks: bpfboot caps prints all that this configuration needs"))
    }

    /// Does it, in this thread. What the kernel says of it afterwards, for the report.
    ///
    /// # Errors
    /// [`Cause::Privilege`]: the kernel refused, or does not confirm it. This thread must then run nothing.
    pub fn complete(&self) -> Result<String, Fault> {
        let Account { uid, gid, groups } = &self.account;
        let deed = |what: &str, done: std::io::Result<()>| {
            done.map_err(|error| Fault::io(Cause::Privilege, what.to_owned(), &error))
        };
        let status = status()?;
        let needs = self.needs(&status).iter().fold(0, |set, (bit, _)| set | bit);
        let setpcap = parse(&status).permitted & SETPCAP;
        if needs & SETPCAP != 0 {
            deed("empty the bounding set", process::shrink_bounding_set(self.keep))?;
        }
        if needs & SETGID != 0 {
            deed("set the groups", groups.as_ref().map_or(Ok(()), |groups| ids::set_groups(groups)))?;
            deed("set the group", ids::set_gid(*gid))?;
        }
        if needs & SETUID != 0 {
            deed("set the user", ids::set_uid(*uid))?;
        }
        set("effective", CapSet::Effective, self.keep | setpcap)?;
        set("inheritable", CapSet::Inheritable, self.keep)?;
        // Also for root, to which exec gives nothing under NOROOT; and before the securebits say that none is added.
        let _ = caps::clear(None, CapSet::Ambient);
        for one in of_bits(self.keep) {
            caps::raise(None, CapSet::Ambient, one).map_err(|e| failed("set the ambient capabilities", &e))?;
        }
        if setpcap != 0 {
            deed("lock the securebits", process::set_securebits(SECUREBITS))?;
        }
        set("effective", CapSet::Effective, self.keep)?;
        set("permitted", CapSet::Permitted, self.keep)?;
        deed("set no_new_privs", process::set_no_new_privs())?;
        self.confirm(setpcap != 0)
    }

    fn confirm(&self, locked: bool) -> Result<String, Fault> {
        let (status, Account { uid, gid, groups }) = (status()?, &self.account);
        let (found, keep) = (parse(&status), self.keep);
        let wanted = Privileges {
            inheritable: keep,
            permitted: keep,
            effective: keep,
            bounding: found.bounding & keep,
            ambient: keep,
            no_new_privs: true,
        };
        let securebits = process::securebits().unwrap_or_default();
        let [uids, gids, now] = ["Uid:", "Gid:", "Groups:"].map(|name| words(&status, name));
        let (uids, gids, now) = (uids.join(","), gids.join(","), now.join(","));
        let right = found == wanted
            && uids == [*uid; 4].map(|id| id.to_string()).join(",")
            && gids == [*gid; 4].map(|id| id.to_string()).join(",")
            && groups.as_ref().is_none_or(|groups| shown(groups).join(",") == now)
            && (!locked || securebits == SECUREBITS);
        let tale = |uid: &str, gid: &str| format!("uid={uid} gid={gid} groups={now} {found} securebits={securebits:x}");
        if right {
            return Ok(tale(&uid.to_string(), &gid.to_string()));
        }
        let tale = tale(&uids, &gids);
        Err(Fault::new(
            Cause::Privilege,
            format!("the drop did not happen: {tale}, wanted uid={uid} gid={gid} {wanted}"),
        ))
    }
}

fn set(name: &str, which: CapSet, value: u64) -> Result<(), Fault> {
    caps::set(None, which, &of_bits(value)).map_err(|error| failed(&format!("set the {name} capabilities"), &error))
}

fn status() -> Result<String, Fault> {
    file::text(STATUS).map_err(|e| Fault::io(Cause::Privilege, format!("read {STATUS}"), &e).mend("mount /proc"))
}

/// The words behind a name in the status.
fn words<'s>(status: &'s str, name: &str) -> Vec<&'s str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().split_ascii_whitespace().collect()
}

/// Groups as the kernel shows them: in order (groups_sort() in kernel/groups.c).
fn shown(groups: &[u32]) -> Vec<String> {
    let mut sorted: Vec<u32> = Vec::with_capacity(groups.len());
    for group in groups {
        sorted.insert(sorted.partition_point(|one| one <= group), *group);
    }
    sorted.iter().map(u32::to_string).collect()
}

fn of_bits(set: u64) -> CapsHashSet {
    caps::all().into_iter().filter(|one| set & one.bitmask() != 0).collect()
}
