//! The flip: links updated in place, entries of maps that live on written, then the staged generation becomes the live one in one rename, then the old one
//! goes. Until the rename a reader sees the old generation whole; after it, the new one whole.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    entries::Written,
    generation::{exists, unseen},
    plan::{BpfPlan, ObjectPlan},
    proof::{How, XdpHow},
    record::Record,
    store::{Generation, Shelf, Store},
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys::{bpf, cpu},
};

/// One link whose program is replaced.
struct Swap {
    what: String,
    link: OwnedFd,
    new: OwnedFd,
    old: Option<OwnedFd>,
}

/// Commits the stage.
///
/// # Errors
/// A [`Cause::Attach`] or [`Cause::Pin`] fault; every link is then back at its old program, and the stage still there.
pub fn commit(plan: &BpfPlan) -> Result<Committed, Fault> {
    let replaced = exists(plan.store.live().path())?;
    let (mut swapped, mut written): (Vec<Swap>, Vec<Written>) = (Vec::new(), Vec::new());
    let result = swaps(plan).and_then(|swaps| {
        for swap in swaps {
            bpf::update_link(swap.link.as_fd(), swap.new.as_fd()).map_err(|e| {
                Fault::io(Cause::Attach, format!("{}: replace its program in place", swap.what), &e)
                    .mend("the new program must be of the same kind (frags, attach type); otherwise: bpfboot detach IFACE first")
            })?;
            swapped.push(swap);
        }
        plan.objects.iter().try_for_each(|object| write_entries(&plan.store, object, &mut written))?;
        plan.store.flip()
    });
    match result {
        Ok(()) => Ok(Committed { replaced, swapped, written }),
        Err(fault) => Err(match put_back(&swapped, &written) {
            Ok(()) => fault,
            Err(worse) => fault.detail(format!("and it could not be taken back: {worse}")),
        }),
    }
}

/// Makes links and entries what they were, all that can be; the first that could not.
fn put_back(swapped: &[Swap], written: &[Written]) -> Result<(), Fault> {
    let mut done = Ok(());
    for entries in written.iter().rev() {
        done = done.and(entries.put_back());
    }
    for swap in swapped.iter().rev() {
        let back = swap.old.as_ref().map_or(Ok(()), |old| bpf::update_link(swap.link.as_fd(), old.as_fd()));
        done = done.and(back.map_err(|e| Fault::io(Cause::Attach, format!("{}: put its program back", swap.what), &e)));
    }
    done
}

/// A flip that can still be taken back, because the old generation has not retired.
pub struct Committed {
    replaced: bool,
    swapped: Vec<Swap>,
    written: Vec<Written>,
}

impl Committed {
    /// Makes the old generation live again; the new one is then in the stage, for the sweep.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault; the new generation is then still live.
    pub fn revert(self, plan: &BpfPlan) -> Result<(), Fault> {
        let back = put_back(&self.swapped, &self.written);
        let (live, stage) = (plan.store.live(), plan.store.stage());
        back.and(match self.replaced {
            true => plan.store.flip(),
            false => std::fs::rename(live.path(), stage.path())
                .map_err(|e| Fault::io(Cause::Pin, format!("take {} back", live.path().display()), &e)),
        })
    }
}

/// Removes the generation that was live before.
///
/// # Errors
/// A [`Cause::Pin`] fault that names what is left.
pub fn retire(plan: &BpfPlan) -> Result<(), Fault> {
    plan.store.retire(&plan.store.stage())
}

/// Writes the configuration's entries. Of a map that was taken over, the live generation sees them at once; into a new
/// one they were written before its programs ran, and are what they were.
fn write_entries(store: &Store, object: &ObjectPlan, written: &mut Vec<Written>) -> Result<(), Fault> {
    let (job, stage) = (&object.job, store.stage());
    let mut wishes = job.maps.iter().filter(|(_, wish)| wish.pin && !wish.entries.is_empty()).peekable();
    // An optional object that failed is staged as it was before.
    if matches!(object.found.how, How::Keep(_))
        || wishes.peek().is_none()
        || Record::read(&stage.object(&job.name))?.is_none_or(|record| record.spec != job.spec)
    {
        return Ok(());
    }
    for (name, wish) in wishes {
        let of_map = |fault: Fault| fault.about(format_args!("object {}: map {name}", job.name));
        let Ok(pin) = name.parse::<PinName>() else { continue };
        let path = stage.pin(&job.name, Shelf::Maps, &pin);
        let fault = |e: &std::io::Error| unseen("open", &path, e);
        let map = bpf::open_pin(&path).map_err(|e| fault(&e))?;
        let identity = bpf::map_identity(map.as_fd()).map_err(|e| fault(&e))?;
        written.push(Written::new(map, &identity, &wish.entries, cpu::possible()).map_err(of_map)?);
    }
    Ok(())
}

fn swaps(plan: &BpfPlan) -> Result<Vec<Swap>, Fault> {
    let mut swaps = Vec::new();
    let (live, stage) = (plan.store.live(), plan.store.stage());
    for object in &plan.objects {
        for link in object.found.links.iter().filter(|link| matches!(link.how, XdpHow::Update)) {
            let name = link.job.link_name();
            let pin = |generation: &Generation, shelf, name: &PinName| {
                let path = generation.pin(&object.job.name, shelf, name);
                bpf::open_pin(&path).map_err(|e| Fault::io(Cause::Pin, format!("open {}", path.display()), &e))
            };
            let link_name: PinName =
                name.parse().map_err(|why| Fault::new(Cause::Pin, format!("link {name}: {why}")))?;
            swaps.push(Swap {
                what: format!("link {}/{name}", object.job.name),
                link: pin(&stage, Shelf::Links, &link_name)?,
                new: pin(&stage, Shelf::Progs, &link.job.program)?,
                old: match pin(&live, Shelf::Progs, &link.job.program) {
                    Err(fault) if fault.errno == Some(libc::ENOENT) => None,
                    old => Some(old?),
                },
            });
        }
    }
    Ok(swaps)
}
