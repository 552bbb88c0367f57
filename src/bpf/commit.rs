//! The flip: links updated in place, then the staged generation becomes the live one in one rename, then the old one
//! goes. Until the rename a reader sees the old generation whole; after it, the new one whole.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    plan::BpfPlan,
    proof::XdpHow,
    store::{Generation, Shelf},
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys::bpf,
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
    let mut swapped: Vec<Swap> = Vec::new();
    let result = swaps(plan).and_then(|swaps| {
        for swap in swaps {
            bpf::update_link(swap.link.as_fd(), swap.new.as_fd()).map_err(|e| {
                Fault::io(Cause::Attach, format!("{}: replace its program in place", swap.what), &e)
                    .mend("the new program must be of the same kind (frags, attach type); otherwise: bpfboot detach IFACE first")
            })?;
            swapped.push(swap);
        }
        plan.store.flip()
    });
    match result {
        Ok(()) => Ok(Committed { replaced, swapped }),
        Err(fault) => {
            swap_back(&swapped);
            Err(fault)
        }
    }
}

fn swap_back(swapped: &[Swap]) {
    for swap in swapped.iter().rev() {
        let _ = swap.old.as_ref().map(|old| bpf::update_link(swap.link.as_fd(), old.as_fd()));
    }
}

/// A flip that can still be taken back, because the old generation has not retired.
pub struct Committed {
    replaced: bool,
    swapped: Vec<Swap>,
}

impl Committed {
    /// Makes the old generation live again; the new one is then in the stage, for the sweep.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault; the new generation is then still live.
    pub fn revert(self, plan: &BpfPlan) -> Result<(), Fault> {
        swap_back(&self.swapped);
        let (live, stage) = (plan.store.live(), plan.store.stage());
        match self.replaced {
            true => plan.store.flip(),
            false => std::fs::rename(live.path(), stage.path()).map_err(|e| Fault::io(Cause::Pin, format!("take {} back", live.path().display()), &e)),
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
            let link_name: PinName = name.parse().map_err(|why| Fault::new(Cause::Pin, format!("link {name}: {why}")))?;
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
