//! The verifier is asked: every program is loaded for its word, with maps of its own, and let go at once. Nothing is
//! attached, nothing is pinned.

use std::os::fd::{AsRawFd, OwnedFd};

use aya_obj::Object;

use super::{
    super::{
        job::{Job, ProgramJob},
        layout::{Layout, Machine},
        load::{new_program, verify},
        maps::{create, fill_globals},
        open::{self, KernelBtf},
    },
    Inspection,
    verdict::Verdict,
};
use crate::{
    config::MapWish,
    error::Fault,
    facts::KernelVersion,
    sys::load::{load_btf, load_for_statistics},
};

/// More than the figures take.
const LOG: usize = 64 << 10;

/// An object whose maps exist for as long as this does.
struct Ready {
    object: Object,
    btf: Option<OwnedFd>,
    maps: Vec<OwnedFd>,
}

/// Asks it about each program. What keeps the object from being tried is every program's fault.
pub fn ask(job: &Job, kernel: &KernelBtf<'_>, machine: Machine, seen: &mut Inspection) {
    let ready = prepare(job, kernel, machine);
    for (program, job) in seen.programs.iter_mut().zip(&job.programs) {
        program.verdict = Some(match &ready {
            Ok(ready) => try_one(job, ready, kernel),
            Err(fault) => Err(fault.clone()),
        });
    }
}

fn prepare(job: &Job, kernel: &KernelBtf<'_>, machine: Machine) -> Result<Ready, Fault> {
    let mut object = open::read(job)?;
    let btf = open::type_info(&mut object, KernelVersion::running())?.and_then(|btf| load_btf(&btf, None).ok());
    open::relocate_types(job, &mut object, kernel)?;
    let mut ready = Ready { btf, maps: Vec::new(), object };
    let defined: Vec<_> = std::mem::take(&mut ready.object.maps).into_iter().collect();
    for (name, map) in &defined {
        let wish = job.maps.get(name).cloned().unwrap_or_else(MapWish::default);
        let mut layout = Layout::wanted(map, &wish, machine);
        // A size that user space is to choose. The verifier asks for none, the map for one.
        layout.max_entries = layout.max_entries.max(1);
        let fd = create(name, map, layout, machine, ready.btf.as_ref(), None)?;
        fill_globals(&fd, map).map_err(|fault| fault.about(format_args!("map {name}")))?;
        ready.maps.push(fd);
    }
    let places = defined.iter().zip(&ready.maps).map(|((name, map), fd)| (name.as_str(), fd.as_raw_fd(), map));
    open::relocate(&mut ready.object, places, KernelVersion::running())?;
    Ok(ready)
}

fn try_one(job: &ProgramJob, ready: &Ready, kernel: &KernelBtf<'_>) -> Result<Verdict, Fault> {
    let new = new_program(job, &ready.object, ready.btf.as_ref(), kernel)?;
    let mut log = vec![0; LOG];
    match load_for_statistics(&new, &mut log) {
        Ok(_) => {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            Ok(Verdict::parse(&String::from_utf8_lossy(log.get(..end).unwrap_or_default())))
        }
        Err(_) => verify(&new, job.kind, &mut log).map(|_| Verdict::default()),
    }
}
