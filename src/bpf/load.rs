//! Loading: a program goes through the verifier, and is pinned in the stage.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::PoisonError,
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
    crew::Weight,
    fault::{of_load, of_no_target, of_pin},
    job::ProgramJob,
    kind::Kind,
    open::{KernelBtf, Opened},
    store::{Shelf, Store},
    wire::{Event, Span},
};
use crate::{
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::{
        bpf::{self, ProgramIdentity},
        load::{NewProgram, Records, load_program},
    },
};

/// The first log the verifier gets, and the largest. A log that is too small masks what the verifier said.
const LOG_SIZES: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];
/// What of it is told: a line that the parent takes, each byte escaped.
const LOG_TOLD: usize = 1000 << 10;

/// One program waiting for the verifier.
pub struct Load<'a, 'w> {
    work: &'w Work<'a>,
    job: &'a ProgramJob,
    opened: &'w Opened,
}

/// What became of one, and when.
pub type Loaded<'a> = (&'a ProgramJob, Span, Result<(OwnedFd, ProgramIdentity), Fault>);

/// The programs of an object that are wanted and were not tried yet.
pub fn next_in_line<'a, 'w>(work: &'w Work<'a>) -> impl Iterator<Item = Load<'a, 'w>> {
    let opened = work.opened.get().and_then(|opened| opened.as_ref().ok()).filter(|_| !work.lost);
    let programs = opened.into_iter().flat_map(|opened| work.plan.job.programs.iter().map(move |job| (opened, job)));
    let untried = programs.filter(|(_, job)| !work.tried.contains_key(&job.name));
    let wanted = untried.filter(|(_, job)| job.is_wanted(&work.record.refused));
    wanted.map(|(opened, job)| Load { work, job, opened })
}

/// Takes note of what became of each program.
///
/// # Errors
/// [`GaveUp`] when a required program failed; it was reported.
pub fn settle(works: &mut [Work<'_>], out: &Out) -> Result<(), GaveUp> {
    let mut gave_up = false;
    for work in works {
        let object = &work.plan.job;
        for (program, span, result) in work.unsettled.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            work.tried.insert(program.name.clone(), Some(span));
            match result {
                Ok(loaded) => {
                    if let Some(Ok(opened)) = work.opened.get_mut() {
                        opened.loaded.insert(program.name.clone(), loaded);
                    }
                }
                Err(fault) if let Some(refused) = program.refused(&fault) => {
                    out.refused(&object.name, refused, &mut work.record)
                }
                Err(fault) => {
                    let optional = object.optional || program.optional;
                    gave_up |= !optional;
                    work.lost |= !program.optional;
                    let id = format!("program {}/{}", object.name, program.name);
                    out.send(&Event::Failed { id, optional, span, fault });
                }
            }
        }
    }
    if gave_up { Err(GaveUp) } else { Ok(()) }
}

impl Load<'_, '_> {
    /// How much it comes before others: about how long it takes.
    pub fn weight(&self) -> Weight {
        let code = look_up(&self.opened.object, self.job).map_or(0, |(_, code)| code.instructions.len());
        (!self.work.plan.job.optional, false, code as u64)
    }

    /// Puts it behind the indexes that name it, as far as that works: to see to it, and to tell, is the business of
    /// [`super::finish`]. Here, because for each jump that the kernel patches all CPUs must answer, and one that sleeps is
    /// waited for (prog_array_map_poke_run() in kernel/bpf/arraymap.c): 0.3 ms.
    fn fill_slots(&self, fd: &OwnedFd) {
        for map in &self.opened.maps {
            let wish = self.work.plan.job.maps.get(map.name.as_str());
            let slots = wish.into_iter().flat_map(|wish| &wish.programs);
            for (index, _) in slots.filter(|(_, program)| program.as_str() == self.job.name.as_str()) {
                let _ = bpf::write_entry(map.fd.as_fd(), &index.to_ne_bytes(), &fd.as_raw_fd().to_ne_bytes());
            }
        }
    }

    /// Loads it, and leaves what became of it with its object.
    pub fn carry_out(&self, store: &Store, btf: &KernelBtf<'_>, out: &Out, log: &mut Vec<u8>) {
        let (job, object, start) = (self.job, &self.work.plan.job.name, Instant::now());
        out.send(&Event::Begin(format!("program {object}/{}", job.name)));
        let result = new_program(job, &self.opened.object, self.opened.btf.as_ref(), btf)
            .and_then(|new| verify(&new, job.kind, log))
            .and_then(|fd| {
                let path = store.stage().pin(object, Shelf::Progs, &job.name);
                bpf::pin(fd.as_fd(), &path).map_err(|e| of_pin(&e, &path))?;
                let identity = bpf::program_identity(fd.as_fd())
                    .map_err(|e| Fault::io(Cause::Pin, format!("look at {}", path.display()), &e))?;
                self.fill_slots(&fd);
                Ok((fd, identity))
            });
        let loaded = (job, out.span(start), result);
        self.work.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push(loaded);
    }
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
