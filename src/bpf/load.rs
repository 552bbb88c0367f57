//! Loading: every program of every object goes through the verifier, on all CPUs at once.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aya::programs::Program;

use super::{
    child::{GaveUp, Out, Work},
    fault::of_load,
    job::ProgramJob,
    open::KernelBtf,
    wire::Event,
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys::process,
};

/// One program waiting for the verifier.
struct Load<'a> {
    job: &'a ProgramJob,
    object: &'a PinName,
    program: &'a mut Program,
}

type Loaded = (PinName, PinName, Duration, Result<(), Fault>);

/// Loads all programs of all objects on all CPUs: the kernel verifies programs of privileged loaders concurrently.
pub fn load_programs(works: &mut [Work<'_>], btf: &KernelBtf, out: &Out) -> Result<(), GaveUp> {
    let mut queue = Vec::new();
    for work in works.iter_mut() {
        let job = &work.plan.job;
        for (name, program) in work.opened.iter_mut().flat_map(|opened| opened.ebpf.programs_mut()) {
            if let Some(program_job) = job.programs.iter().find(|p| p.name.as_str() == name) {
                queue.push(Load { job: program_job, object: &job.name, program });
            }
        }
    }
    let threads = process::usable_cpus().min(queue.len());
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
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(load) = next() {
            let (object, name, start) = (load.object.clone(), load.job.name.clone(), Instant::now());
            out.send(&Event::Begin(format!("program {object}/{name}")));
            let result = load_one(load, btf);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((object, name, start.elapsed(), result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be started leaves its share to the others.
            let _ = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
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
