//! `[run]`: whom `bpfboot run` becomes, and what its command is given.

use std::{fmt, str::FromStr};

use super::types::{PinName, Refused};

/// A user or a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// By number.
    Id(u32),
    /// By its name in the container's own /etc/passwd or /etc/group.
    Name(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One pin whose descriptor the command gets: `trace/maps/events`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassWish {
    /// The object.
    pub object: PinName,
    /// `maps`, `progs` or `links`.
    pub shelf: &'static str,
    /// The pin.
    pub name: PinName,
}

impl FromStr for PassWish {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let (object, shelf, name) = (next(), next(), next());
        let shelf = ["maps", "progs", "links"].into_iter().find(|known| *known == shelf);
        match (shelf, parts.next()) {
            // LISTEN_FDNAMES has a colon between two names (sd_listen_fds(3)).
            _ if text.contains(':') => Err(Refused(format!("the pin {text:?} may not hold a colon"))),
            (Some(shelf), None) => Ok(Self { object: object.parse()?, shelf, name: name.parse()? }),
            _ => Err(Refused(format!("{text:?} is not OBJECT/maps/NAME, OBJECT/progs/NAME or OBJECT/links/NAME"))),
        }
    }
}

impl fmt::Display for PassWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.object, self.shelf, self.name)
    }
}

/// `[run]`.
#[derive(Clone, Debug, Default)]
pub struct RunWish {
    /// The user to become; `None`: who we are.
    pub user: Option<Who>,
    /// The group; `None`: the user's.
    pub group: Option<Who>,
    /// The supplementary groups; `None`: the user's.
    pub groups: Option<Vec<Who>>,
    /// Capabilities that the command keeps, one bit each.
    pub keep: u64,
    /// Whether the command starts also where a required step failed.
    pub go_on: bool,
    /// Pins to hand over.
    pub pass: Vec<PassWish>,
}

/// One key of `[run]`.
#[derive(Clone, Debug, PartialEq)]
pub enum RunSetting {
    /// `user`.
    User(Who),
    /// `group`.
    Group(Who),
    /// `groups`.
    Groups(Vec<Who>),
    /// `keep-caps`.
    Keep(u64),
    /// `on-failure`: whether to go on.
    OnFailure(bool),
    /// `pass-fds`.
    Pass(Vec<PassWish>),
}

impl RunSetting {
    /// Puts it in its place.
    pub fn apply(self, run: &mut RunWish) {
        match self {
            Self::User(user) => run.user = Some(user),
            Self::Group(group) => run.group = Some(group),
            Self::Groups(groups) => run.groups = Some(groups),
            Self::Keep(keep) => run.keep = keep,
            Self::OnFailure(go_on) => run.go_on = go_on,
            Self::Pass(pass) => run.pass = pass,
        }
    }
}
