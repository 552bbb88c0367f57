//! The flip: links updated in place, entries of maps that live on written, then the staged generation becomes the live one in one rename, then the old one
//! goes. Until the rename a reader sees the old generation whole; after it, the new one whole.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    entries::Written,
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
    let replaced = plan.store.live().path().exists();
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
        Err(fault) => {
            put_back(&swapped, &written);
            Err(fault)
        }
    }
}

fn put_back(swapped: &[Swap], written: &[Written]) {
    written.iter().rev().for_each(Written::put_back);
    for swap in swapped.iter().rev() {
        let _ = swap.old.as_ref().map(|old| bpf::update_link(swap.link.as_fd(), old.as_fd()));
    }
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
        put_back(&self.swapped, &self.written);
        let (live, stage) = (plan.store.live(), plan.store.stage());
        match self.replaced {
            true => plan.store.flip(),
            false => std::fs::rename(live.path(), stage.path())
                .map_err(|e| Fault::io(Cause::Pin, format!("take {} back", live.path().display()), &e)),
        }
    }
}

/// Removes the generation that was live before.
///
/// # Errors
/// A [`Cause::Pin`] fault that names what is left.
pub fn retire(plan: &BpfPlan) -> Result<(), Fault> {
    let old = plan.store.stage();
    if old.path().exists() { plan.store.retire(&old) } else { Ok(()) }
}

/// Writes the configuration's entries into the maps that an object takes over: one map under both names.
fn write_entries(store: &Store, object: &ObjectPlan, written: &mut Vec<Written>) -> Result<(), Fault> {
    let (job, stage) = (&object.job, store.stage());
    // An optional object that failed is staged as it was before.
    if Record::read(&stage.object(&job.name)).is_none_or(|record| record.spec != job.spec) {
        return Ok(());
    }
    for (name, wish) in job.maps.iter().filter(|(_, wish)| wish.pin && !wish.entries.is_empty()) {
        let of_map = |fault: Fault| fault.about(format_args!("object {}: map {name}", job.name));
        let Ok(pin) = name.parse::<PinName>() else { continue };
        let open = |generation: &Generation| {
            let map = bpf::open_pin(&generation.pin(&job.name, Shelf::Maps, &pin)).ok()?;
            let identity = bpf::map_identity(map.as_fd()).ok()?;
            Some((map, identity))
        };
        let (Some((map, new)), Some((_, old))) = (open(&stage), open(&store.live())) else { continue };
        if matches!(object.found.how, How::Load(_)) && new.id == old.id {
            written.push(Written::new(map, &new, &wish.entries, cpu::possible()).map_err(of_map)?);
        }
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
                old: pin(&live, Shelf::Progs, &link.job.program).ok(),
            });
        }
    }
    Ok(swaps)
}
