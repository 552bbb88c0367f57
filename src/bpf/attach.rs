//! Attaching, so that it lasts: every attachment here is a link that can be pinned, or it is undone and an error.

use std::{ffi::CString, time::{Duration, Instant}};

use aya::programs::{
    Program, ProgramError, Xdp, kprobe::KProbeLink, links::FdLink, perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
    trace_point::TracePointLink, uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope}, xdp::{XdpLink, XdpMode as AyaMode},
};

use super::{
    fault::{of_attach, of_unpinnable},
    job::{XdpJob, mode_word, target},
    kind::Kind,
    proof::no_interface,
};
use crate::{
    config::{AttachWish, Sample, UserFunction, XdpMode},
    error::{Cause, Fault},
    sys::netlink,
};

/// How long between two looks for an interface that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Attaches a loaded tracing program. One link, or one a CPU for sampled events, in the order of
/// [`link_names`](super::job::ProgramJob::link_names).
///
/// # Errors
/// A [`Cause::Attach`] or [`Cause::Privilege`] fault.
pub fn tracing(program: &mut Program, kind: Kind, wish: &AttachWish) -> Result<Vec<FdLink>, Fault> {
    let place = target(wish);
    let fault = |error: ProgramError| of_attach(&error, kind, &place);
    let lasting = |link: Result<FdLink, _>| link.map(|link| vec![link]).map_err(|_| of_unpinnable(&place));
    match (program, wish) {
        (Program::TracePoint(p), AttachWish::Tracepoint { category, name }) => {
            let link = p.attach(category, name).and_then(|id| p.take_link(id)).map_err(fault)?;
            lasting(<FdLink as TryFrom<TracePointLink>>::try_from(link).map_err(drop))
        }
        (Program::RawTracePoint(p), AttachWish::RawTracepoint(name)) => {
            p.attach(name).and_then(|id| p.take_link(id)).map(|link| vec![link.into()]).map_err(fault)
        }
        (Program::BtfTracePoint(p), AttachWish::TpBtf(_)) => {
            p.attach().and_then(|id| p.take_link(id)).map(|link| vec![link.into()]).map_err(fault)
        }
        (Program::FEntry(p), AttachWish::Fentry(_)) => p.attach().and_then(|id| p.take_link(id)).map(|link| vec![link.into()]).map_err(fault),
        (Program::FExit(p), AttachWish::Fexit(_)) => p.attach().and_then(|id| p.take_link(id)).map(|link| vec![link.into()]).map_err(fault),
        (Program::Lsm(p), AttachWish::Lsm(_)) => p.attach().and_then(|id| p.take_link(id)).map(|link| vec![link.into()]).map_err(fault),
        (Program::KProbe(p), AttachWish::Kprobe { function, offset }) => {
            let link = p.attach(function, *offset).and_then(|id| p.take_link(id)).map_err(fault)?;
            lasting(<FdLink as TryFrom<KProbeLink>>::try_from(link).map_err(drop))
        }
        (Program::KProbe(p), AttachWish::Kretprobe(function)) => {
            let link = p.attach(function, 0).and_then(|id| p.take_link(id)).map_err(fault)?;
            lasting(<FdLink as TryFrom<KProbeLink>>::try_from(link).map_err(drop))
        }
        (Program::UProbe(p), AttachWish::Uprobe(place) | AttachWish::Uretprobe(place)) => {
            let link = p.attach([location(place)], &place.path, UProbeScope::AllProcesses).and_then(|id| p.take_link(id)).map_err(fault)?;
            lasting(<FdLink as TryFrom<UProbeLink>>::try_from(link).map_err(drop))
        }
        (Program::PerfEvent(p), AttachWish::PerfEvent { event, sample }) => sampled(p, event, *sample, &place),
        _ => Err(Fault::new(Cause::Attach, format!("a {} program cannot attach to {place}", kind.word()))),
    }
}

fn location(place: &UserFunction) -> UProbeAttachLocation<'_> {
    match (place.symbol.as_str(), place.offset) {
        ("", offset) => UProbeAttachLocation::AbsoluteOffset(offset),
        (symbol, 0) => UProbeAttachLocation::Symbol(symbol),
        (symbol, offset) => UProbeAttachLocation::SymbolOffset(symbol, offset),
    }
}

/// One perf event and one link a CPU: the kernel has no system-wide event.
fn sampled(program: &mut aya::programs::PerfEvent, event: &str, sample: Sample, place: &str) -> Result<Vec<FdLink>, Fault> {
    let software = software_event(event).ok_or_else(|| Fault::new(Cause::Attach, format!("there is no software event {event:?}")))?;
    let policy = match sample {
        Sample::Frequency(hertz) => SamplePolicy::Frequency(hertz),
        Sample::Period(events) => SamplePolicy::Period(events),
    };
    online_cpus()
        .into_iter()
        .map(|cpu| {
            let link = program
                .attach(PerfEventConfig::Software(software), PerfEventScope::AllProcessesOneCpu { cpu }, policy, false)
                .and_then(|id| program.take_link(id))
                .map_err(|error| of_attach(&error, Kind::PerfEvent, place))?;
            <FdLink as TryFrom<PerfEventLink>>::try_from(link).map_err(|_| of_unpinnable(place))
        })
        .collect()
}

/// The CPUs a sampled event runs on.
pub fn online_cpus() -> Vec<u32> {
    aya::util::online_cpus().unwrap_or_else(|_| vec![0])
}

fn software_event(name: &str) -> Option<SoftwareEvent> {
    Some(match name {
        "cpu-clock" => SoftwareEvent::CpuClock,
        "task-clock" => SoftwareEvent::TaskClock,
        "page-faults" => SoftwareEvent::PageFaults,
        "context-switches" => SoftwareEvent::ContextSwitches,
        "cpu-migrations" => SoftwareEvent::CpuMigrations,
        "minor-faults" => SoftwareEvent::PageFaultsMin,
        "major-faults" => SoftwareEvent::PageFaultsMaj,
        "alignment-faults" => SoftwareEvent::AlignmentFaults,
        "emulation-faults" => SoftwareEvent::EmulationFaults,
        "dummy" => SoftwareEvent::Dummy,
        "bpf-output" => SoftwareEvent::BpfOutput,
        _ => return None,
    })
}

/// Attaches an XDP program, waiting for its interface as long as the plan says. Gives the link and its mode's word.
///
/// # Errors
/// [`Cause::Attach`]: no such interface, no such mode in its driver. [`Cause::Busy`]: somebody else's program is there.
pub fn xdp(program: &mut Xdp, job: &XdpJob) -> Result<(FdLink, &'static str), Fault> {
    wait_for(job)?;
    let interface = job.interface.as_str();
    let modes: &[(AyaMode, &'static str)] = match job.mode {
        XdpMode::Native => &[(AyaMode::Driver, "native")],
        XdpMode::Generic => &[(AyaMode::Skb, "generic")],
        XdpMode::Offload => &[(AyaMode::Hardware, "offload")],
        XdpMode::Any => &[(AyaMode::Driver, "native"), (AyaMode::Skb, "generic")],
    };
    let name = CString::new(interface).map_err(|_| Fault::new(Cause::Attach, "the interface name holds a NUL"))?;
    let mut last = None;
    for (mode, word) in modes {
        match program.attach(&name, *mode).and_then(|id| program.take_link(id)) {
            Ok(link) => {
                // aya falls back to netlink on EINVAL; such an attachment ends with this process, so it is undone.
                let link = <FdLink as TryFrom<XdpLink>>::try_from(link).map_err(|_| of_unpinnable(interface))?;
                return Ok((link, word));
            }
            Err(error) => last = Some(of_attach(&error, Kind::Xdp, interface)),
        }
        if last.as_ref().is_none_or(|fault| fault.cause != Cause::Attach) {
            break;
        }
    }
    Err(last.unwrap_or_else(|| Fault::new(Cause::Attach, format!("no mode to try on {interface} ({})", mode_word(job.mode)))))
}

fn wait_for(job: &XdpJob) -> Result<(), Fault> {
    let start = Instant::now();
    loop {
        match netlink::interface(&job.interface) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if start.elapsed() >= job.wait => {
                let fault = no_interface(&job.interface);
                return Err(match job.wait.is_zero() {
                    true => fault,
                    false => fault.about(format_args!("waited {:?}", job.wait)),
                });
            }
            Ok(None) => std::thread::sleep(LOOK_AGAIN.min(job.wait)),
            Err(error) => return Err(Fault::io(Cause::Attach, format!("ask the kernel for {}", job.interface), &error)),
        }
    }
}
