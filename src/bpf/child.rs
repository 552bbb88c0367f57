//! What runs inside the loader child: it builds the next generation of pins in the stage, and tells its parent.
//!
//! By the time this runs, the process holds only what the plan needs. Whatever dies here costs one item, not the
//! health code; whatever it leaves in the stage, the parent commits or sweeps.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    path::Path,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::ProgramArray,
    programs::{Program, ProgramFd, Xdp, links::FdLink},
};
use aya_obj::programs::XdpAttachType;

use super::{
    attach,
    fault::{of_load, of_map},
    job::{Job, ProgramJob, target},
    layout::{Layout, Machine},
    open::{KernelBtf, Opened, open},
    plan::{BpfPlan, ObjectPlan},
    proof::{How, XdpHow, XdpPlan, open_link},
    record::{LinkRecord, Record},
    store::{Shelf, Store},
    wire::Event,
};
use crate::{
    config::{AttachWish, PinName},
    error::{Cause, Fault},
    sys::{self, bpf},
};

/// The child's side of the pipe, shared by its threads.
pub struct Out(Mutex<File>);

impl Out {
    /// Takes the pipe.
    pub fn new(pipe: File) -> Self {
        Self(Mutex::new(pipe))
    }

    /// Sends one event. A parent that is gone is no reason to stop: it will never commit.
    pub fn send(&self, event: &Event) {
        let mut pipe = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = pipe.write_all(event.line().as_bytes());
    }

    fn failed(&self, id: String, optional: bool, start: Instant, fault: Fault) {
        self.send(&Event::Failed { id, optional, took: start.elapsed(), fault });
    }

    fn done(&self, id: String, now: String, note: String, took: Duration, facts: &[(&str, String)]) {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.send(&Event::Done { id, now, note, took, facts });
    }
}

/// A required item failed and was reported: nothing more is worth doing.
pub struct GaveUp;

/// One object on its way into the stage.
struct Work<'a> {
    plan: &'a ObjectPlan,
    opened: Option<Opened>,
    record: Record,
    took: BTreeMap<PinName, Duration>,
    /// A program that the object cannot do without failed.
    lost: bool,
}

/// Builds the whole next generation.
///
/// # Errors
/// [`GaveUp`] after a required item was reported as failed.
pub fn run(plan: &BpfPlan, machine: Machine, out: &Out) -> Result<(), GaveUp> {
    let store = &plan.store;
    let kernel_btf = KernelBtf::default();
    let mut works = Vec::new();
    for name in &plan.carry {
        carry_whole(store, name).map_err(|fault| {
            out.failed(format!("object {name}"), false, Instant::now(), fault);
            GaveUp
        })?;
    }
    for plan in &plan.objects {
        works.extend(begin(plan, store, machine, &kernel_btf, out)?);
    }
    load_programs(&mut works, &kernel_btf, out)?;
    for mut work in works {
        let job = &work.plan.job;
        if work.lost {
            leave(job, store);
        } else if let Err(fault) = finish(&mut work, store, out) {
            give_up_on(job, store, fault, out)?;
        }
    }
    out.send(&Event::End);
    Ok(())
}

fn begin<'a>(plan: &'a ObjectPlan, store: &Store, machine: Machine, btf: &KernelBtf, out: &Out) -> Result<Option<Work<'a>>, GaveUp> {
    let job = &plan.job;
    out.send(&Event::Begin(format!("object {}", job.name)));
    let start = Instant::now();
    let opened = store.stage().make(&job.name).and_then(|()| match &plan.found.how {
        How::Keep(record) => carry(store, &job.name, record).map(|()| (None, record.clone())),
        How::Load(_) => open(job, store, machine, btf).map(|opened| (Some(opened), Record { spec: job.spec.clone(), ..Record::default() })),
    });
    match opened {
        Ok((opened, record)) => {
            let took = BTreeMap::from([(job.name.clone(), start.elapsed())]);
            Ok(Some(Work { plan, opened, record, took, lost: false }))
        }
        Err(fault) => give_up_on(job, store, Object(fault, start), out).map(|()| None),
    }
}

/// A failure of a whole object, with when it began.
struct Object(Fault, Instant);

/// An object that is optional leaves the stage.
fn give_up_on(job: &Job, store: &Store, Object(fault, start): Object, out: &Out) -> Result<(), GaveUp> {
    out.failed(format!("object {}", job.name), job.optional, start, fault);
    if !job.optional {
        return Err(GaveUp);
    }
    leave(job, store);
    Ok(())
}

/// Takes an object out of the stage; what was live of it stays live.
fn leave(job: &Job, store: &Store) {
    clear(store, &store.stage().object(&job.name));
    let _ = carry_whole(store, &job.name);
}

/// Takes an object over as it is, links and all. An XDP link whose interface is gone stays behind.
fn carry_whole(store: &Store, object: &PinName) -> Result<(), Fault> {
    let Some(mut record) = Record::read(&store.live().object(object)) else { return Ok(()) };
    store.stage().make(object)?;
    carry(store, object, &record)?;
    record.links.retain(|link| {
        let alive = || open_link(&store.live().pin(object, Shelf::Links, &link.name)).is_ok_and(|link| link.ifindex != Some(0));
        !link.target.starts_with("xdp ") || (alive() && carry_pin(store, object, Shelf::Links, &link.name).is_ok())
    });
    record.write(&store.stage().object(object))
}

/// Empties an object's directory in the stage, where nobody but us writes.
fn clear(store: &Store, dir: &Path) {
    for shelf in Shelf::ALL {
        for file in super::store::entries(&dir.join(shelf.dir())) {
            let pin = dir.join(shelf.dir()).join(file);
            if shelf == Shelf::Links {
                store.let_go(&store.stage(), &pin);
            }
            let _ = fs::remove_file(pin);
        }
        let _ = fs::remove_dir(dir.join(shelf.dir()));
    }
    Record::remove(dir);
    let _ = fs::remove_dir(dir);
}

/// Gives every pin of the live generation a second name in the stage.
fn carry(store: &Store, object: &PinName, record: &Record) -> Result<(), Fault> {
    let programs = record.programs.iter().map(|(name, _)| (Shelf::Progs, name));
    let maps = record.maps.iter().map(|(name, _)| (Shelf::Maps, name));
    programs.chain(maps).try_for_each(|(shelf, name)| carry_pin(store, object, shelf, name))?;
    record.links.iter().filter(|link| !link.target.starts_with("xdp ")).try_for_each(|link| carry_pin(store, object, Shelf::Links, &link.name))
}

fn carry_pin(store: &Store, object: &PinName, shelf: Shelf, name: &PinName) -> Result<(), Fault> {
    let (live, stage) = (store.live().pin(object, shelf, name), store.stage().pin(object, shelf, name));
    match fs::hard_link(&live, &stage) {
        Ok(()) => Ok(()),
        Err(e) => Err(Fault::io(Cause::Pin, format!("link {} to {}", live.display(), stage.display()), &e)),
    }
}

/// One program waiting for the verifier.
struct Load<'a> {
    job: &'a ProgramJob,
    object: &'a PinName,
    program: &'a mut Program,
}

type Loaded = (PinName, PinName, Duration, Result<(), Fault>);

/// Loads all programs of all objects on all CPUs: the kernel verifies programs of privileged loaders concurrently.
fn load_programs(works: &mut [Work<'_>], btf: &KernelBtf, out: &Out) -> Result<(), GaveUp> {
    let mut queue = Vec::new();
    for work in works.iter_mut() {
        let job = &work.plan.job;
        for (name, program) in work.opened.iter_mut().flat_map(|opened| opened.ebpf.programs_mut()) {
            if let Some(program_job) = job.programs.iter().find(|p| p.name.as_str() == name) {
                queue.push(Load { job: program_job, object: &job.name, program });
            }
        }
    }
    let threads = sys::process::usable_cpus().min(queue.len());
    let results = load_all(queue, threads, btf, out);
    let mut gave_up = false;
    for (object, name, took, result) in results {
        let Some(work) = works.iter_mut().find(|work| work.plan.job.name == object) else { continue };
        let alone = work.plan.job.program(&name).is_some_and(|program| program.optional);
        let optional = work.plan.job.optional || alone;
        match result {
            Ok(()) => {
                work.took.insert(name, took);
            }
            Err(fault) => {
                gave_up |= !optional;
                work.lost |= !alone;
                out.send(&Event::Failed { id: format!("program {object}/{name}"), optional, took, fault });
            }
        }
    }
    if gave_up { Err(GaveUp) } else { Ok(()) }
}

fn load_all(queue: Vec<Load<'_>>, threads: usize, btf: &KernelBtf, out: &Out) -> Vec<Loaded> {
    let queue = Mutex::new(queue.into_iter());
    let results = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || {
        while let Some(load) = next() {
            let (object, name, start) = (load.object.clone(), load.job.name.clone(), Instant::now());
            out.send(&Event::Begin(format!("program {object}/{name}")));
            let result = load_one(load, btf);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((object, name, start.elapsed(), result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be started leaves its share to the others.
            let _ = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn load_one(load: Load<'_>, btf: &KernelBtf) -> Result<(), Fault> {
    let Load { job, program, .. } = load;
    let target = job.load_target.as_str();
    match program {
        Program::Xdp(p) => p.load(),
        Program::TracePoint(p) => p.load(),
        Program::RawTracePoint(p) => p.load(),
        Program::KProbe(p) => p.load(),
        Program::UProbe(p) => p.load(),
        Program::PerfEvent(p) => p.load(),
        Program::BtfTracePoint(p) => p.load(target, btf.get()?),
        Program::FEntry(p) => p.load(target, btf.get()?),
        Program::FExit(p) => p.load(target, btf.get()?),
        Program::Lsm(p) => p.load(target, btf.get()?),
        Program::LsmCgroup(p) => p.load(target, btf.get()?),
        Program::Iter(p) => p.load(target, btf.get()?),
        Program::SchedClassifier(p) => p.load(),
        Program::SocketFilter(p) => p.load(),
        Program::CgroupSkb(p) => p.load(),
        Program::CgroupSock(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSockopt(p) => p.load(),
        Program::CgroupSysctl(p) => p.load(),
        Program::CgroupDevice(p) => p.load(),
        Program::SockOps(p) => p.load(),
        Program::SkMsg(p) => p.load(),
        Program::SkSkb(p) => p.load(),
        Program::SkLookup(p) => p.load(),
        Program::SkReuseport(p) => p.load(),
        Program::FlowDissector(p) => p.load(),
        Program::LircMode2(p) => p.load(),
        Program::ReusePortSocketFilter(p) => p.load(),
        Program::Extension(_) => {
            return Err(Fault::new(Cause::Kernel, "freplace programs need another program to extend; bpfboot does not load them"));
        }
    }
    .map_err(|error| of_load(&error, job.kind))
}

/// Pins what was loaded, fills program arrays, attaches, and writes the record.
fn finish(work: &mut Work<'_>, store: &Store, out: &Out) -> Result<(), Object> {
    let start = Instant::now();
    let failed = |fault| Object(fault, start);
    let job = &work.plan.job;
    let stage = store.stage();
    if let Some(mut opened) = work.opened.take() {
        work.record.maps = keep_maps(job, store, &opened, out).map_err(failed)?;
        fill_program_arrays(job, &mut opened).map_err(failed)?;
        for program in &job.programs {
            if let Some(took) = work.took.get(&program.name).copied() {
                pin_and_attach(job, program, took, &mut opened, &mut work.record, store, out).map_err(failed)?;
            }
        }
        let took = work.took.get(&job.name).copied().unwrap_or_default();
        let why = match &work.plan.found.how {
            How::Load(why) => why.clone(),
            How::Keep(_) => String::new(),
        };
        let sha256 = job.sha256();
        out.done(format!("object {}", job.name), format!("sha256 {}", sha256.get(..16).unwrap_or_default()), why, took, &[("sha256", sha256)]);
        // Descriptors of pinned things are let go by _exit, not here: closing is work nobody waits for.
        std::mem::forget(opened);
    }
    work.record.links.retain(|link| !link.target.starts_with("xdp "));
    for xdp in work.plan.found.links.iter().filter(|xdp| !matches!(xdp.how, XdpHow::Blocked(_))) {
        attach_xdp(job, xdp, &mut work.record, store, out).map_err(failed)?;
    }
    work.record.write(&stage.object(&job.name)).map_err(failed)
}

fn keep_maps(job: &Job, store: &Store, opened: &Opened, out: &Out) -> Result<Vec<(PinName, bpf::MapIdentity)>, Fault> {
    let mut kept = Vec::new();
    for map in &opened.maps {
        let pin = job.maps.get(map.name.as_str()).is_none_or(|wish| wish.pin);
        if pin {
            kept.push((map.name.clone(), map.identity));
        } else {
            let path = store.stage().pin(&job.name, Shelf::Maps, &map.name);
            fs::remove_file(&path).map_err(|e| Fault::io(Cause::Pin, format!("unpin {}", path.display()), &e))?;
        }
        let facts = [("id", map.identity.id.to_string()), ("pinned", pin.to_string())];
        out.done(format!("map {}/{}", job.name, map.name), Layout::pinned(&map.identity).to_string(), map.note.clone(), Duration::ZERO, &facts);
    }
    Ok(kept)
}

fn fill_program_arrays(job: &Job, opened: &mut Opened) -> Result<(), Fault> {
    for (name, wish) in job.maps.iter().filter(|(_, wish)| !wish.programs.is_empty()) {
        let of_array = |fault: Fault| fault.about(format_args!("map {name}"));
        let mut slots: Vec<(u32, &str, ProgramFd)> = Vec::new();
        for (index, program) in &wish.programs {
            let fd = opened.ebpf.program(program).and_then(|p| p.fd().ok()).and_then(|fd| fd.try_clone().ok());
            // A handler that is optional and failed leaves its slot empty: the tail call falls through.
            slots.extend(fd.map(|fd| (*index, program.as_str(), fd)));
        }
        let map = opened.ebpf.map_mut(name).ok_or_else(|| of_array(Fault::new(Cause::Map, "aya does not know it")))?;
        let mut array = ProgramArray::try_from(map).map_err(|e| of_array(of_map(&e)))?;
        for (index, program, fd) in slots {
            array.set(index, &fd, 0).map_err(|e| {
                let fault = of_map(&e);
                of_array(fault.about(format_args!("put program {program} at index {index}")))
            })?;
        }
    }
    Ok(())
}

fn pin_and_attach(
    job: &Job,
    program: &ProgramJob,
    took: Duration,
    opened: &mut Opened,
    record: &mut Record,
    store: &Store,
    out: &Out,
) -> Result<(), Fault> {
    let id = format!("program {}/{}", job.name, program.name);
    let start = Instant::now();
    let Some(loaded) = opened.ebpf.program_mut(program.name.as_str()) else { return Ok(()) };
    let path = store.stage().pin(&job.name, Shelf::Progs, &program.name);
    let in_program = |fault: Fault| fault.about(format_args!("program {}", program.name));
    let io = |deed: &str, e: &std::io::Error| in_program(Fault::io(Cause::Pin, format!("{deed} {}", path.display()), e));
    if let Err(error) = loaded.pin(&path) {
        return Err(in_program(super::fault::of_pin(&error, &path)));
    }
    let fd = loaded.fd().map_err(|error| in_program(of_load(&error, program.kind)))?;
    let identity = bpf::program_identity(fd.as_fd()).map_err(|e| io("look at", &e))?;
    record.programs.push((program.name.clone(), identity));
    let tag = identity.tag();
    let facts = [
        ("kind", program.kind.word().to_owned()),
        ("id", identity.id.to_string()),
        ("tag", tag.clone()),
        ("verified_instructions", identity.verified_instructions.to_string()),
    ];
    let attached = !program.attach.is_empty() || job.xdp.iter().any(|xdp| xdp.program == program.name);
    let note = if attached { "" } else { program.kind.only_pinned() };
    out.done(id, format!("{} id {} tag {tag}", program.kind.word(), identity.id), note.into(), took + start.elapsed(), &facts);
    for wish in &program.attach {
        attach_tracing(job, program, wish, loaded, record, store, out)?;
    }
    Ok(())
}

fn attach_tracing(
    job: &Job,
    program: &ProgramJob,
    wish: &AttachWish,
    loaded: &mut Program,
    record: &mut Record,
    store: &Store,
    out: &Out,
) -> Result<(), Fault> {
    let start = Instant::now();
    let names = program.link_names(wish);
    let id = |name: &str| format!("link {}/{name}", job.name);
    let place = format!("{} {}", program.kind.word(), target(wish));
    let first = names.first().cloned().unwrap_or_default();
    out.send(&Event::Begin(id(&first)));
    let pinned = attach::tracing(loaded, program.kind, wish).and_then(|links| {
        names.iter().zip(links).map(|(name, link)| pin_link(job, name, &program.name, &place, link, store)).collect::<Result<Vec<_>, _>>()
    });
    match pinned {
        Ok(links) => {
            for link in links {
                let facts = [("id", link.id.to_string())];
                out.done(id(link.name.as_str()), place.clone(), String::new(), start.elapsed(), &facts);
                record.links.push(link);
            }
            Ok(())
        }
        Err(fault) if program.optional => {
            out.failed(id(&first), true, start, fault);
            Ok(())
        }
        Err(fault) => Err(fault.about(format_args!("program {}", program.name))),
    }
}

fn pin_link(job: &Job, name: &str, program: &PinName, place: &str, link: FdLink, store: &Store) -> Result<LinkRecord, Fault> {
    let name: PinName = name.parse().map_err(|why| Fault::new(Cause::Pin, format!("the link name {name:?} cannot be a pin: {why}")))?;
    let path = store.stage().pin(&job.name, Shelf::Links, &name);
    // The pin holds the link from here on. Letting the descriptor go first would be the last reference: the kernel
    // would detach, and wait tens of milliseconds for it.
    let pinned = link.pin(&path).map_err(|error| super::fault::of_pin(&error, &path))?;
    std::mem::forget(pinned);
    let identity = open_link(&path).map_err(|why| Fault::new(Cause::Pin, format!("{}: {why}", path.display())))?;
    Ok(LinkRecord { name, id: identity.id, program: program.clone(), target: place.to_owned() })
}

/// Brings one XDP attachment into the stage: carried over, or made new from the pinned program.
fn attach_xdp(job: &Job, plan: &XdpPlan, record: &mut Record, store: &Store, out: &Out) -> Result<(), Fault> {
    let start = Instant::now();
    let xdp = &plan.job;
    let name = xdp.link_name();
    let id = format!("link {}/{name}", job.name);
    let optional = xdp.optional || job.optional || job.program(&xdp.program).is_some_and(|p| p.optional);
    let result = match &plan.how {
        XdpHow::Keep(_) | XdpHow::Update => carry_link(job, plan, &name, store),
        XdpHow::Attach => new_xdp_link(job, plan, &name, store, out, &id),
        XdpHow::Blocked(fault) => Err(fault.clone()),
    };
    match result {
        Ok(link) => {
            if !matches!(plan.how, XdpHow::Keep(_)) {
                let note = if matches!(plan.how, XdpHow::Update) { "its program is replaced in place" } else { "" };
                out.done(id, link.target.clone(), note.into(), start.elapsed(), &[("id", link.id.to_string())]);
            }
            record.links.push(link);
            Ok(())
        }
        Err(fault) if optional => {
            out.failed(id, true, start, fault);
            Ok(())
        }
        Err(fault) => Err(fault.about(format_args!("program {}", xdp.program))),
    }
}

fn carry_link(job: &Job, plan: &XdpPlan, name: &str, store: &Store) -> Result<LinkRecord, Fault> {
    let pin: PinName = name.parse().map_err(|why| Fault::new(Cause::Pin, format!("the link name {name:?} cannot be a pin: {why}")))?;
    carry_pin(store, &job.name, Shelf::Links, &pin)?;
    let old = Record::read(&store.live().object(&job.name)).unwrap_or_default();
    let target = old.links.iter().find(|link| link.name == pin).map(|link| link.target.clone());
    let path = store.stage().pin(&job.name, Shelf::Links, &pin);
    let identity = open_link(&path).map_err(|why| Fault::new(Cause::Pin, format!("{}: {why}", path.display())))?;
    let target = target.unwrap_or_else(|| format!("xdp {} {}", plan.job.interface, super::job::mode_word(plan.job.mode)));
    Ok(LinkRecord { name: pin, id: identity.id, program: plan.job.program.clone(), target })
}

fn new_xdp_link(job: &Job, plan: &XdpPlan, name: &str, store: &Store, out: &Out, id: &str) -> Result<LinkRecord, Fault> {
    out.send(&Event::Begin(id.to_owned()));
    let path = store.stage().pin(&job.name, Shelf::Progs, &plan.job.program);
    let mut program = Xdp::from_pin(&path, XdpAttachType::Interface).map_err(|error| of_load(&error, super::kind::Kind::Xdp))?;
    let (link, mode) = attach::xdp(&mut program, &plan.job)?;
    let place = format!("xdp {} {mode}", plan.job.interface);
    pin_link(job, name, &plan.job.program, &place, link, store)
}
