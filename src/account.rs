//! The users and groups of the container that we are in: its own /etc/passwd and /etc/group, and no name service.

use std::fs;

use crate::{
    config::{RunWish, Who},
    error::{Cause, Fault},
    sys::{ids, process::effective_uid},
};

/// Whom the command runs as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups; `None` leaves them as they are.
    pub groups: Option<Vec<u32>>,
}

impl Account {
    /// Looks up what `[run]` names.
    ///
    /// # Errors
    /// [`Cause::Command`]: a name that is nowhere, or a number from which no group follows.
    pub fn find(wish: &RunWish) -> Result<Self, Fault> {
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Self::among(wish, &text("/etc/passwd"), &text("/etc/group"))
    }

    fn among(wish: &RunWish, users: &str, groups: &str) -> Result<Self, Fault> {
        let id_of_group = |who: &Who| match who {
            Who::Id(id) => Ok(*id),
            Who::Name(name) => entry(groups, 0, name)
                .and_then(|group| number(group, 2))
                .ok_or_else(|| nowhere(format!("the group {name} is not in /etc/group"), "give its number")),
        };
        let user = wish.user.as_ref().map(|who| match who {
            Who::Id(id) => (entry(users, 2, &id.to_string()), Some(*id)),
            Who::Name(name) => {
                let user = entry(users, 0, name);
                (user, user.and_then(|user| number(user, 2)))
            }
        });
        let (user, uid) = match (user, &wish.user) {
            (Some((user, Some(uid))), _) => (user, uid),
            (Some(_), Some(who)) => {
                return Err(nowhere(format!("the user {who} is not in /etc/passwd"), "give its number, and group"));
            }
            _ => (None, effective_uid()),
        };
        let gid = match (&wish.group, user.and_then(|user| number(user, 3))) {
            (Some(group), _) => id_of_group(group)?,
            (None, Some(gid)) => gid,
            (None, None) if wish.user.is_none() => ids::gid(),
            // To guess group 0 here would be a gift to whoever breaks in.
            _ => {
                return Err(nowhere(
                    format!("the user {uid} is not in /etc/passwd"),
                    "name its group, too: group = 1000",
                ));
            }
        };
        let groups = match &wish.groups {
            Some(names) => Some(names.iter().map(id_of_group).collect::<Result<_, _>>()?),
            None => wish.user.as_ref().map(|_| {
                let name = user.and_then(|user| user.split(':').next());
                name.map(|name| memberships(groups, name)).unwrap_or_default()
            }),
        };
        Ok(Self { uid, gid, groups })
    }
}

fn nowhere(what: String, mend: &str) -> Fault {
    Fault::new(Cause::Command, what).mend(format!("[run]: {mend}"))
}

/// The first line whose field number `at` is `value`.
fn entry<'t>(text: &'t str, at: usize, value: &str) -> Option<&'t str> {
    text.lines().find(|line| line.split(':').nth(at) == Some(value))
}

fn number(line: &str, at: usize) -> Option<u32> {
    line.split(':').nth(at)?.parse().ok().filter(|id| *id != u32::MAX)
}

/// The groups that list a user, by number.
fn memberships(groups: &str, user: &str) -> Vec<u32> {
    let lists = |line: &&str| line.split(':').nth(3).is_some_and(|users| users.split(',').any(|one| one == user));
    groups.lines().filter(lists).filter_map(|line| number(line, 2)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nagent:x:1000:100:,,,:/:/sbin/nologin\nodd:x:-1:5::\n";
    const GROUPS: &str = "root:x:0:\nvideo:x:44:other,agent\nusers:x:100:agent\nnone:x:4294967295:agent\n";

    fn find(user: Option<Who>, group: Option<Who>, groups: Option<Vec<Who>>) -> Result<Account, String> {
        let wish = RunWish { user, group, groups, ..RunWish::default() };
        Account::among(&wish, USERS, GROUPS).map_err(|fault| fault.to_string())
    }

    #[test]
    fn users_are_those_of_the_container() {
        let (name, id) = (|name: &str| Some(Who::Name(name.into())), |id| Some(Who::Id(id)));
        let agent = Account { uid: 1000, gid: 100, groups: Some(vec![44, 100]) };
        assert_eq!(find(name("agent"), None, None), Ok(agent.clone()));
        assert_eq!(find(id(1000), None, None), Ok(agent.clone()));
        assert_eq!(find(name("agent"), name("video"), None), Ok(Account { gid: 44, ..agent.clone() }));
        let groups = Some(vec![Who::Id(7), Who::Name("users".into())]);
        assert_eq!(find(name("agent"), id(9), groups), Ok(Account { gid: 9, groups: Some(vec![7, 100]), ..agent }));
        assert_eq!(find(id(77), id(9), None), Ok(Account { uid: 77, gid: 9, groups: Some(vec![]) }));
        let ours = Account { uid: effective_uid(), gid: ids::gid(), groups: None };
        assert_eq!(find(None, None, None), Ok(ours));
        assert!(find(id(77), None, None).unwrap_err().contains("the user 77 is not in /etc/passwd"));
        assert!(find(name("nobody"), None, None).unwrap_err().contains("the user nobody is not in /etc/passwd"));
        assert!(find(name("odd"), id(9), None).is_err(), "an id that is no number is no id");
        assert!(find(None, name("wheel"), None).unwrap_err().contains("the group wheel is not in /etc/group"));
        assert!(find(None, name("none"), None).is_err(), "-1 means none to the kernel");
    }
}
