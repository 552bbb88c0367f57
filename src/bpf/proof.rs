//! Is it there? Proven by the kernel's identities, never by a path: a pin can hold anything, and a pinned link outlives
//! its interface. Reads only.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use super::{
    contents,
    job::{Job, XdpJob, mode_word},
    record::{LinkRecord, Record},
    store::{Generation, Shelf, Store},
};
use crate::{
    config::{IfName, PinName, XdpMode},
    error::{Cause, Fault},
    sys::{
        bpf::{self, LinkIdentity, Pinned},
        netlink::{self, Interface},
    },
};

/// What the look at one object came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether its programs and maps are as planned.
    pub how: How,
    /// All that is wrong with them is that something optional is missing.
    pub degraded: bool,
    /// Its XDP attachments: those of the configuration, then those that `attach` made.
    pub links: Vec<XdpPlan>,
}

/// What its programs and maps need.
#[derive(Clone, Debug)]
pub enum How {
    /// Nothing: they are proven to be ours and as planned.
    Keep(Record),
    /// A load, for this reason.
    Load(String),
}

/// One XDP attachment and what it needs.
#[derive(Clone, Debug)]
pub struct XdpPlan {
    /// The attachment.
    pub job: XdpJob,
    /// Made by `bpfboot attach`, not by the configuration.
    pub adopted: bool,
    /// What it needs.
    pub how: XdpHow,
}

/// What an XDP attachment needs.
#[derive(Clone, Debug)]
pub enum XdpHow {
    /// Nothing: the link is alive, on this interface, with this program, in this mode.
    Keep,
    /// Our link is alive, and its program is about to be replaced under it.
    Update,
    /// A new link.
    Attach,
    /// It is known that it cannot be attached.
    Blocked(Fault),
}

/// Looks at one object of the plan.
pub fn look(store: &Store, job: &Job) -> Found {
    let live = store.live();
    let (record, unread) = match Record::read(&live.object(&job.name)) {
        Ok(record) => (record, "not loaded yet".to_owned()),
        Err(fault) => (None, fault.to_string()),
    };
    let adopted: Vec<XdpJob> = record.iter().flat_map(|record| adopted(job, record)).collect();
    let mut degraded = false;
    let how = match record {
        None => How::Load(unread),
        Some(record) => match disproved(&live, job, &record, false) {
            None => How::Keep(record),
            Some(why) => {
                degraded = disproved(&live, job, &record, true).is_none();
                How::Load(why)
            }
        },
    };
    let load = matches!(how, How::Load(_));
    let plan = |xdp: &XdpJob, adopted| XdpPlan {
        job: xdp.clone(),
        adopted,
        how: xdp_how(&live, &job.name, xdp, load, adopted),
    };
    let mut links: Vec<_> = job.xdp.iter().map(|xdp| plan(xdp, false)).collect();
    // An adopted link whose interface is gone has nothing to come back to: its pin goes with the old generation.
    links.extend(
        adopted
            .iter()
            .map(|xdp| plan(xdp, true))
            .filter(|plan| !matches!(plan.how, XdpHow::Blocked(_) | XdpHow::Attach)),
    );
    Found { how, degraded, links }
}

/// What a look comes to where nothing can be looked at: all is to be done.
pub fn unseen(job: &Job) -> Found {
    let plan = |xdp: &XdpJob| XdpPlan { job: xdp.clone(), adopted: false, how: XdpHow::Attach };
    Found { how: How::Load(String::new()), degraded: false, links: job.xdp.iter().map(plan).collect() }
}

/// Why the pins are not what the plan wants; `None` when they are. `lenient` lets optional parts be missing.
fn disproved(live: &Generation, job: &Job, record: &Record, lenient: bool) -> Option<String> {
    if record.spec != job.spec {
        return Some("the object or its settings changed".into());
    }
    for program in job.programs.iter().filter(|program| program.is_wanted(&record.refused)) {
        let lenient = lenient && program.optional;
        let Some((_, wanted)) = record.programs.iter().find(|(name, _)| *name == program.name) else {
            if lenient {
                continue;
            }
            return Some(format!("program {} is not loaded", program.name));
        };
        let path = live.pin(&job.name, Shelf::Progs, &program.name);
        match open(&path, Pinned::Program).and_then(|fd| bpf::program_identity(fd.as_fd()).map_err(|e| e.to_string())) {
            Ok(is) if is.id == wanted.id && is.tag == wanted.tag => {}
            Ok(_) => return Some(format!("{} holds another program than the one that was loaded", path.display())),
            Err(why) => return Some(format!("{}: {why}", path.display())),
        }
        let links = program.attach.iter().flat_map(|wish| program.link_names(wish));
        let links = links.filter(|link| !lenient || record.links.iter().any(|known| known.name.as_str() == link));
        if let Some(why) = links.filter_map(|link| link_disproved(live, job, record, &link, wanted.id)).next() {
            return Some(why);
        }
    }
    for (name, wanted) in &record.maps {
        let path = live.pin(&job.name, Shelf::Maps, name);
        match open(&path, Pinned::Map).and_then(|fd| bpf::map_identity(fd.as_fd()).map_err(|e| e.to_string())) {
            Ok(is) if is == *wanted => {}
            Ok(_) => return Some(format!("{} holds another map than the one that was made", path.display())),
            Err(why) => return Some(format!("{}: {why}", path.display())),
        }
    }
    contents::disproved(live, job, record)
}

fn link_disproved(live: &Generation, job: &Job, record: &Record, link: &str, program: u32) -> Option<String> {
    let name: PinName = link.parse().ok()?;
    let path = live.pin(&job.name, Shelf::Links, &name);
    let Some(wanted) = record.links.iter().find(|link| link.name == name) else {
        return Some(format!("link {name} is not attached"));
    };
    match open_link(&path) {
        Ok(is) if is.id == wanted.id && is.program == program => None,
        Ok(_) => Some(format!("{} holds another link than the one that was made", path.display())),
        Err(why) => Some(format!("{}: {why}", path.display())),
    }
}

fn open(path: &Path, kind: Pinned) -> Result<OwnedFd, String> {
    let fd = bpf::open_pin(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => "the pin is gone".to_owned(),
        Some(errno) => crate::error::errno_text(errno),
        None => error.to_string(),
    })?;
    match bpf::kind_of(fd.as_fd()) {
        // Without /proc the kinds cannot be told apart; the identity below still has to match.
        Some(is) if is != kind => Err(format!("it is a {is:?}, not a {kind:?}").to_ascii_lowercase()),
        _ => Ok(fd),
    }
}

/// Who the link behind a pin is.
///
/// # Errors
/// Why it cannot be told.
pub fn open_link(path: &Path) -> Result<LinkIdentity, String> {
    open(path, Pinned::Link).and_then(|fd| bpf::link_identity(fd.as_fd()).map_err(|e| e.to_string()))
}

/// The XDP links that `bpfboot attach` made, which the configuration does not name.
fn adopted(job: &Job, record: &Record) -> Vec<XdpJob> {
    record
        .links
        .iter()
        .filter_map(adopt)
        .filter(|xdp| {
            job.program(&xdp.program).is_some()
                && !job.xdp.iter().any(|own| own.program == xdp.program && own.interface == xdp.interface)
        })
        .collect()
}

fn adopt(link: &LinkRecord) -> Option<XdpJob> {
    let (interface, mode) = link.target.strip_prefix("xdp ")?.split_once(' ')?;
    let mode = [XdpMode::Native, XdpMode::Generic, XdpMode::Offload].into_iter().find(|m| mode_word(*m) == mode)?;
    Some(XdpJob {
        program: link.program.clone(),
        interface: interface.parse().ok()?,
        mode,
        wait: std::time::Duration::ZERO,
        optional: true,
    })
}

/// Looks at one XDP attachment of a loaded object.
pub fn look_at_xdp(store: &Store, object: &PinName, xdp: &XdpJob) -> XdpPlan {
    XdpPlan { job: xdp.clone(), adopted: false, how: xdp_how(&store.live(), object, xdp, false, false) }
}

fn xdp_how(live: &Generation, object: &PinName, xdp: &XdpJob, load: bool, adopted: bool) -> XdpHow {
    let interface = match netlink::interface(&xdp.interface) {
        Ok(Some(interface)) => interface,
        Ok(None) if adopted || !xdp.wait.is_zero() => return XdpHow::Attach,
        Ok(None) => return XdpHow::Blocked(no_interface(&xdp.interface)),
        Err(error) => {
            return XdpHow::Blocked(Fault::io(Cause::Attach, format!("ask the kernel for {}", xdp.interface), &error));
        }
    };
    let ours = xdp.link_name().parse().ok().and_then(|name| open_link(&live.pin(object, Shelf::Links, &name)).ok());
    match ours.filter(|link| link.ifindex == Some(interface.index)) {
        None => foreign(&xdp.interface, &interface, live).map_or(XdpHow::Attach, XdpHow::Blocked),
        Some(link) => match interface.programs().find(|(_, id)| *id == link.program) {
            Some((mode, _)) if xdp.mode != XdpMode::Any && mode != mode_word(xdp.mode) => XdpHow::Blocked(
                Fault::new(Cause::Attach, format!("attached in {mode} mode; the plan wants {}", mode_word(xdp.mode)))
                    .mend(format!(
                        "the mode cannot change without a gap: bpfboot detach {}, then apply again",
                        xdp.interface
                    )),
            ),
            _ if load => XdpHow::Update,
            _ => keep_if_right(live, object, xdp, link),
        },
    }
}

/// A live link keeps only while the program behind it is the one that is pinned: a run killed between the update of
/// the link and the flip leaves another.
fn keep_if_right(live: &Generation, object: &PinName, xdp: &XdpJob, link: LinkIdentity) -> XdpHow {
    let pinned = open(&live.pin(object, Shelf::Progs, &xdp.program), Pinned::Program).ok();
    match pinned.and_then(|fd| bpf::program_identity(fd.as_fd()).ok()) {
        Some(program) if program.id == link.program => XdpHow::Keep,
        _ => XdpHow::Update,
    }
}

/// A program on the interface that is not ours, as a fault.
fn foreign(name: &IfName, interface: &Interface, live: &Generation) -> Option<Fault> {
    let (mode, id) = interface.programs().next()?;
    if ours_by_id(live, id) {
        return Some(
            Fault::os(
                Cause::Busy,
                format!("{name} already carries our program {id} in {mode} mode, through another link"),
                libc::EBUSY,
            )
            .mend(format!("bpfboot detach {name}")),
        );
    }
    Some(
        Fault::os(
            Cause::Busy,
            format!(
                "{name} already carries XDP program {id} in {mode} mode, attached by somebody else; it was left alone"
            ),
            libc::EBUSY,
        )
        .mend(format!("look: bpftool prog show id {id}; then detach it there, or: ip link set dev {name} xdp off")),
    )
}

fn ours_by_id(live: &Generation, id: u32) -> bool {
    live.objects()
        .unwrap_or_default()
        .iter()
        .filter_map(|object| Record::read(&live.object(object)).ok().flatten())
        .any(|record| record.programs.iter().any(|(_, program)| program.id == id))
}

/// The fault for an interface that is not there.
pub fn no_interface(name: &IfName) -> Fault {
    Fault::os(Cause::Attach, format!("there is no interface {name} in this network namespace"), libc::ENODEV)
        .mend(format!("ip link show; or wait for it: {{ xdp = \"{name}\", wait = \"5s\" }}, or optional = true, or: bpfboot attach {name} later"))
}
