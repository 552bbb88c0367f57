//! Loading: every program of every object goes through the verifier, on all CPUs at once.

use std::{
    cmp::Reverse,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use aya_obj::{
    Function, Object, Program, ProgramSection,
    btf::{Btf, BtfKind},
    generated::{
        BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS, bpf_attach_type as A, bpf_func_info, bpf_line_info, bpf_prog_type as P,
    },
};

use super::{
    child::{GaveUp, Out, Work},
    crew,
    fault::{of_load, of_no_target},
    job::ProgramJob,
    kind::Kind,
    open::{KernelBtf, Opened},
    wire::{Event, Span},
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::{
        load::{NewProgram, Records, load_program},
        process,
    },
};

/// The first log the verifier gets, and the largest. A log that is too small masks what the verifier said.
const LOG_SIZES: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];
/// What of it is told: a line that the parent takes, each byte escaped.
const LOG_TOLD: usize = 1000 << 10;

/// One program waiting for the verifier.
struct Load<'a, 'w> {
    /// Which of the works it belongs to.
    work: usize,
    object: &'a PinName,
    job: &'a ProgramJob,
    opened: &'w Opened,
}

type Loaded<'a> = (usize, &'a ProgramJob, Span, Result<OwnedFd, Fault>);

/// Loads all programs that are wanted and were not tried yet on all CPUs: the kernel verifies programs of privileged
/// loaders concurrently.
///
/// # Errors
/// [`GaveUp`] when a required program failed; it was reported.
pub fn load_programs(works: &mut [Work<'_>], btf: &KernelBtf<'_>, out: &Out) -> Result<(), GaveUp> {
    // Once for the first choices, and again as long as one of them gave way to another.
    loop {
        let queue = next_in_line(works);
        if queue.is_empty() {
            return Ok(());
        }
        let threads = process::usable_cpus().min(queue.len());
        // A log for all loads of a thread: what is given back is not used again.
        let done = crew::Done::default();
        crew::work(queue.len(), threads, &|at, log| {
            let Some(load) = queue.get(at) else { return };
            let (job, start) = (load.job, Instant::now());
            out.send(&Event::Begin(format!("program {}/{}", load.object, job.name)));
            let result = load_one(load, btf, log);
            crew::note(&done, (load.work, job, out.span(start), result));
        });
        settle(crew::all(done), works, out)?;
    }
}

fn next_in_line<'a, 'w>(works: &'w [Work<'a>]) -> Vec<Load<'a, 'w>> {
    let mut queue = Vec::new();
    for (at, work) in works.iter().enumerate().filter(|(_, work)| !work.lost) {
        let (Some(opened), plan) = (&work.opened, work.plan) else { continue };
        let untried = plan.job.programs.iter().filter(|program| !work.tried.contains_key(&program.name));
        let wanted = untried.filter(|program| program.is_wanted(&work.record.refused));
        queue.extend(wanted.map(|job| Load { work: at, object: &plan.job.name, job, opened }));
    }
    // The longest first: nobody is to wait for one that was begun last.
    queue.sort_by_key(|load| Reverse(look_up(&load.opened.object, load.job).map(|(_, code)| code.instructions.len())));
    queue
}

/// Takes note of what became of each program.
fn settle(results: Vec<Loaded<'_>>, works: &mut [Work<'_>], out: &Out) -> Result<(), GaveUp> {
    let mut gave_up = false;
    for (at, program, span, result) in results {
        let Some(work) = works.get_mut(at) else { continue };
        let object = &work.plan.job;
        let optional = object.optional || program.optional;
        work.tried.insert(program.name.clone(), Some(span));
        match result {
            Ok(fd) => {
                if let Some(opened) = &mut work.opened {
                    opened.loaded.insert(program.name.clone(), fd);
                }
            }
            Err(fault) if let Some(refused) = program.refused(&fault) => {
                out.refused(&object.name, refused, &mut work.record)
            }
            Err(fault) => {
                gave_up |= !optional;
                work.lost |= !program.optional;
                let id = format!("program {}/{}", object.name, program.name);
                out.send(&Event::Failed { id, optional, span, fault });
            }
        }
    }
    if gave_up { Err(GaveUp) } else { Ok(()) }
}

fn load_one(load: &Load<'_, '_>, btf: &KernelBtf<'_>, log: &mut Vec<u8>) -> Result<OwnedFd, Fault> {
    let Load { job, opened, .. } = load;
    verify(&new_program(job, &opened.object, opened.btf.as_ref(), btf)?, job.kind, log)
}

/// A program as the kernel is asked to load it; `own`: the object's BTF in the kernel.
///
/// # Errors
/// A [`Cause::Object`] or [`Cause::Kernel`] fault: aya or this kernel knows no such program, or not its target.
pub(super) fn new_program<'a>(
    job: &'a ProgramJob,
    object: &'a Object,
    own: Option<&'a OwnedFd>,
    btf: &'a KernelBtf<'_>,
) -> Result<NewProgram<'a>, Fault> {
    let (program, function) = look_up(object, job)
        .ok_or_else(|| Fault::new(Cause::Object, format!("aya cannot load section {:?}", job.section)))?;
    let (kind, attach, flags) = kernel_type(&program.section, &job.section);
    if kind == P::BPF_PROG_TYPE_EXT {
        return Err(Fault::new(
            Cause::Kernel,
            "freplace programs need another program to extend; bpfboot does not load them",
        ));
    }
    let attach_btf_id = match btf_name(&program.section, &job.load_target) {
        Some((name, of)) => btf_id(btf.get()?, &name, of, job)?,
        None => 0,
    };
    Ok(NewProgram {
        name: job.name.as_str(),
        kind: kind as u32,
        expected_attach_type: attach,
        flags,
        instructions: &function.instructions,
        license: &program.license,
        kernel_version: program.kernel_version.unwrap_or_else(|| KernelVersion::running().code()),
        attach_btf_id,
        token: btf.outside.token(),
        btf: own.map(|btf| (btf.as_fd(), functions(function), lines(function))),
    })
}

/// What aya made of a program.
pub(super) fn look_up<'a>(object: &'a Object, job: &ProgramJob) -> Option<(&'a Program, &'a Function)> {
    let program = object.programs.get(job.name.as_str())?;
    Some((program, object.functions.get(&program.function_key())?))
}

fn functions(function: &Function) -> Records {
    Records { bytes: function.func_info.func_info_bytes(), size: size_of::<bpf_func_info>() as u32 }
}

fn lines(function: &Function) -> Records {
    Records { bytes: function.line_info.line_info_bytes(), size: size_of::<bpf_line_info>() as u32 }
}

/// Loads without a log, which is the fast way; a refusal is asked for again with one. The first errno is the true one.
pub(super) fn verify(new: &NewProgram<'_>, kind: Kind, log: &mut Vec<u8>) -> Result<OwnedFd, Fault> {
    let first = match load_program(new, &mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    for size in LOG_SIZES {
        if log.len() < size {
            *log = vec![0; size];
        }
        match load_program(new, log) {
            Ok(fd) => return Ok(fd),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
            Err(_) => break,
        }
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    // The end says why.
    let left_out = end.saturating_sub(LOG_TOLD);
    let mut told = String::from_utf8_lossy(log.get(left_out..end).unwrap_or_default()).into_owned();
    if left_out > 0 {
        told.insert_str(0, &format!("[its first {left_out} bytes are left out]\n"));
    }
    Err(of_load(&first, &told, kind))
}

/// The kernel's numbers for a section: program type, expected attach type, flags.
pub(super) fn kernel_type(section: &ProgramSection, written: &str) -> (P, u32, u32) {
    use ProgramSection as S;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    let plain = |kind| (kind, 0, 0);
    match section {
        S::KProbe | S::KRetProbe => plain(P::BPF_PROG_TYPE_KPROBE),
        S::UProbe { sleepable, multi } | S::URetProbe { sleepable, multi } => {
            let attach = if *multi { A::BPF_TRACE_UPROBE_MULTI as u32 } else { 0 };
            (P::BPF_PROG_TYPE_KPROBE, attach, flag(*sleepable, BPF_F_SLEEPABLE))
        }
        S::TracePoint => plain(P::BPF_PROG_TYPE_TRACEPOINT),
        S::RawTracePoint => plain(P::BPF_PROG_TYPE_RAW_TRACEPOINT),
        S::PerfEvent => plain(P::BPF_PROG_TYPE_PERF_EVENT),
        S::BtfTracePoint => (P::BPF_PROG_TYPE_TRACING, A::BPF_TRACE_RAW_TP as u32, 0),
        S::FEntry { sleepable } => {
            (P::BPF_PROG_TYPE_TRACING, A::BPF_TRACE_FENTRY as u32, flag(*sleepable, BPF_F_SLEEPABLE))
        }
        S::FExit { sleepable } => {
            (P::BPF_PROG_TYPE_TRACING, A::BPF_TRACE_FEXIT as u32, flag(*sleepable, BPF_F_SLEEPABLE))
        }
        S::Iter { sleepable } => {
            (P::BPF_PROG_TYPE_TRACING, A::BPF_TRACE_ITER as u32, flag(*sleepable, BPF_F_SLEEPABLE))
        }
        S::Lsm { sleepable } => (P::BPF_PROG_TYPE_LSM, A::BPF_LSM_MAC as u32, flag(*sleepable, BPF_F_SLEEPABLE)),
        S::LsmCgroup => (P::BPF_PROG_TYPE_LSM, A::BPF_LSM_CGROUP as u32, 0),
        S::Xdp { frags, .. } => {
            let attach = match written.split('/').nth(1) {
                Some("devmap") => A::BPF_XDP_DEVMAP,
                Some("cpumap") => A::BPF_XDP_CPUMAP,
                _ => A::BPF_XDP,
            };
            (P::BPF_PROG_TYPE_XDP, attach as u32, flag(*frags, BPF_F_XDP_HAS_FRAGS))
        }
        S::SchedClassifier => plain(P::BPF_PROG_TYPE_SCHED_CLS),
        S::SocketFilter => plain(P::BPF_PROG_TYPE_SOCKET_FILTER),
        S::SkMsg => plain(P::BPF_PROG_TYPE_SK_MSG),
        S::SkSkbStream { .. } => plain(P::BPF_PROG_TYPE_SK_SKB),
        S::SockOps => plain(P::BPF_PROG_TYPE_SOCK_OPS),
        S::CgroupSkb { attach_type } => {
            (P::BPF_PROG_TYPE_CGROUP_SKB, attach_type.map_or(0, |attach| A::from(attach) as u32), 0)
        }
        S::CgroupSockAddr { attach_type } => (P::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, A::from(*attach_type) as u32, 0),
        S::CgroupSock { attach_type } => (P::BPF_PROG_TYPE_CGROUP_SOCK, A::from(*attach_type) as u32, 0),
        S::CgroupSockopt { attach_type } => (P::BPF_PROG_TYPE_CGROUP_SOCKOPT, A::from(*attach_type) as u32, 0),
        S::CgroupSysctl => plain(P::BPF_PROG_TYPE_CGROUP_SYSCTL),
        S::CgroupDevice => plain(P::BPF_PROG_TYPE_CGROUP_DEVICE),
        S::LircMode2 => plain(P::BPF_PROG_TYPE_LIRC_MODE2),
        S::FlowDissector => plain(P::BPF_PROG_TYPE_FLOW_DISSECTOR),
        S::SkLookup => (P::BPF_PROG_TYPE_SK_LOOKUP, A::BPF_SK_LOOKUP as u32, 0),
        S::SkReuseport { attach_type } => (P::BPF_PROG_TYPE_SK_REUSEPORT, A::from(*attach_type) as u32, 0),
        S::Extension => plain(P::BPF_PROG_TYPE_EXT),
    }
}

/// The name and kind under which the kernel's BTF knows the target of a program that is loaded against it
/// (libbpf_find_attach_btf_id() in tools/lib/bpf/libbpf.c).
pub(super) fn btf_name(section: &ProgramSection, target: &str) -> Option<(String, BtfKind)> {
    use ProgramSection as S;
    match section {
        S::BtfTracePoint => Some((format!("btf_trace_{target}"), BtfKind::Typedef)),
        S::FEntry { .. } | S::FExit { .. } => Some((target.to_owned(), BtfKind::Func)),
        S::Lsm { .. } | S::LsmCgroup => Some((format!("bpf_lsm_{target}"), BtfKind::Func)),
        S::Iter { .. } => Some((format!("bpf_iter_{target}"), BtfKind::Func)),
        _ => None,
    }
}

/// The id of that type.
///
/// # Errors
/// What [`of_no_target`] says.
pub(super) fn btf_id(btf: &Btf, name: &str, kind: BtfKind, job: &ProgramJob) -> Result<u32, Fault> {
    btf.id_by_type_name_kind(name, kind).map_err(|_| of_no_target(name, job.kind, &job.load_target))
}
