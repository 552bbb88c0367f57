//! Attaching, so that it lasts: every attachment here is a link that can be pinned, or an error and nothing attached.

use std::{
    ffi::CString,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_SKB_MODE};

use super::{
    fault::{of_attach, of_unpinnable},
    job::{ProgramJob, XdpJob, target},
    kind::Kind,
    outside::Outside,
    proof::no_interface,
    user,
};
use crate::{
    config::{AttachWish, Sample, XdpMode},
    error::{Cause, Fault},
    sys::{
        cpu,
        link::{self, PerfEvent},
        netlink,
    },
};

/// How long between two looks for an interface that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the kernel numbers its probing PMUs.
const PMUS: &str = "/sys/bus/event_source/devices";

/// The software events of perf by their names in perf-list(1), in the order of enum perf_sw_ids.
const SOFTWARE_EVENTS: [&str; 11] = [
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
];

/// Attaches a loaded tracing program. One link, or one a CPU for sampled events, in the order of
/// [`ProgramJob::link_names`].
///
/// # Errors
/// A [`Cause::Attach`] or [`Cause::Privilege`] fault.
pub fn tracing(
    program: BorrowedFd<'_>,
    job: &ProgramJob,
    wish: &AttachWish,
    outside: &Outside,
) -> Result<Vec<OwnedFd>, Fault> {
    let place = target(wish);
    let fault = |error: &io::Error| of_attach(error, job.kind, &place);
    let one = |link: io::Result<OwnedFd>| link.map(|link| vec![link]).map_err(|e| fault(&e));
    match wish {
        AttachWish::RawTracepoint(name) => one(link::to_raw_tracepoint(program, Some(&c_text(name)?))),
        AttachWish::TpBtf(_) | AttachWish::Fentry(_) | AttachWish::Fexit(_) | AttachWish::Lsm(_) => {
            one(link::to_raw_tracepoint(program, None))
        }
        AttachWish::Uprobe(at) | AttachWish::Uretprobe(at) if job.section.contains(".multi") => {
            let (file, offset) = user::place(at, outside)?;
            one(link::to_user_function(program, &file, offset, job.kind == Kind::Uretprobe))
        }
        AttachWish::Xdp { .. } => Err(Fault::new(Cause::Attach, "XDP attaches to interfaces, not to events")),
        _ => {
            let mut links = Vec::new();
            for event in events(wish, outside, &fault)? {
                let event = link::open_perf_event(&event).map_err(|e| fault(&e))?;
                links.push(link::to_perf_event(program, &event).map_err(|e| match e.raw_os_error() {
                    // The event was fine, so it is the link that this kernel does not know.
                    Some(libc::EINVAL) => of_unpinnable(&place),
                    _ => fault(&e),
                })?);
            }
            Ok(links)
        }
    }
}

fn c_text(text: impl AsRef<[u8]>) -> Result<CString, Fault> {
    CString::new(text.as_ref()).map_err(|_| Fault::new(Cause::Attach, "the name holds a NUL"))
}

/// The perf events behind an attachment.
fn events(wish: &AttachWish, outside: &Outside, fault: &dyn Fn(&io::Error) -> Fault) -> Result<Vec<PerfEvent>, Fault> {
    let probe = |pmu, on_return, name, offset| probe(outside, pmu, on_return, name, offset);
    Ok(match wish {
        AttachWish::Tracepoint { category, name } => {
            let config = tracepoint_id(outside, category, name).map_err(|e| fault(&e))?;
            vec![PerfEvent { kind: link::TRACEPOINT, config, ..PerfEvent::default() }]
        }
        AttachWish::Kprobe { function, offset } => {
            vec![probe("kprobe", false, c_text(function)?, *offset).map_err(|e| fault(&e))?]
        }
        AttachWish::Kretprobe(function) => vec![probe("kprobe", true, c_text(function)?, 0).map_err(|e| fault(&e))?],
        AttachWish::Uprobe(at) | AttachWish::Uretprobe(at) => {
            let (file, offset) = user::place(at, outside)?;
            vec![probe("uprobe", matches!(wish, AttachWish::Uretprobe(_)), file, offset).map_err(|e| fault(&e))?]
        }
        AttachWish::PerfEvent { event, sample } => {
            let config = SOFTWARE_EVENTS.iter().position(|known| known == event);
            let config =
                config.ok_or_else(|| Fault::new(Cause::Attach, format!("there is no software event {event:?}")))?;
            let (frequency, period) = match sample {
                Sample::Frequency(hertz) => (*hertz, 0),
                Sample::Period(events) => (0, *events),
            };
            let event =
                PerfEvent { kind: link::SOFTWARE, config: config as u64, frequency, period, ..PerfEvent::default() };
            cpu::online().iter().map(|cpu| PerfEvent { cpu: *cpu, ..event.clone() }).collect()
        }
        _ => Vec::new(),
    })
}

/// Where tracefs is, and its old place in debugfs.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The small files that attaching there takes.
pub fn texts(wish: &AttachWish) -> Vec<String> {
    let pmu = |pmu: &str, file: &str| format!("{PMUS}/{pmu}/{file}");
    let of_return = |name: &str| vec![pmu(name, "type"), pmu(name, "format/retprobe")];
    match wish {
        AttachWish::Tracepoint { category, name } => TRACEFS.map(|root| id_file(root, category, name)).to_vec(),
        AttachWish::Kprobe { .. } => vec![pmu("kprobe", "type")],
        AttachWish::Kretprobe(_) => of_return("kprobe"),
        AttachWish::Uprobe(_) => vec![pmu("uprobe", "type")],
        AttachWish::Uretprobe(_) => of_return("uprobe"),
        _ => Vec::new(),
    }
}

fn id_file(root: &str, category: &str, name: &str) -> String {
    format!("{root}/events/{category}/{name}/id")
}

/// A tracepoint's id.
fn tracepoint_id(outside: &Outside, category: &str, name: &str) -> io::Result<u64> {
    let [new, old] = TRACEFS.map(|root| outside.text(&id_file(root, category, name)));
    let text = new.or_else(|error| old.map_err(|_| error))?;
    text.trim().parse().map_err(|_| io::Error::from_raw_os_error(libc::EIO))
}

fn probe(outside: &Outside, pmu: &str, on_return: bool, name: CString, offset: u64) -> io::Result<PerfEvent> {
    let read = |file: &str| outside.text(&format!("{PMUS}/{pmu}/{file}"));
    let number = |text: &str| text.trim().parse().map_err(|_| io::Error::from_raw_os_error(libc::EIO));
    let kind = number(read("type")?)?;
    // `config:0`: the bit that makes it a probe on return.
    let bit = if on_return { number(read("format/retprobe")?.trim().trim_start_matches("config:"))? } else { 0 };
    Ok(PerfEvent { kind, config: u64::from(on_return) << bit, name: Some(name), offset, ..PerfEvent::default() })
}

/// Attaches an XDP program, waiting for its interface as long as the plan says. Gives the link and its mode's word.
///
/// # Errors
/// [`Cause::Attach`]: no such interface, no such mode in its driver. [`Cause::Busy`]: somebody else's program is there.
pub fn xdp(program: BorrowedFd<'_>, job: &XdpJob) -> Result<(OwnedFd, &'static str), Fault> {
    let index = wait_for(job)?;
    let modes: &[(u32, &'static str)] = match job.mode {
        XdpMode::Native => &[(XDP_FLAGS_DRV_MODE, "native")],
        XdpMode::Generic => &[(XDP_FLAGS_SKB_MODE, "generic")],
        XdpMode::Offload => &[(XDP_FLAGS_HW_MODE, "offload")],
        XdpMode::Any => &[(XDP_FLAGS_DRV_MODE, "native"), (XDP_FLAGS_SKB_MODE, "generic")],
    };
    let mut last = None;
    for (flags, word) in modes {
        match link::to_interface(program, index, *flags) {
            Ok(link) => return Ok((link, word)),
            Err(error) => last = Some(of_attach(&error, Kind::Xdp, job.interface.as_str())),
        }
        if last.as_ref().is_none_or(|fault: &Fault| fault.cause != Cause::Attach) {
            break;
        }
    }
    Err(last.unwrap_or_else(|| no_interface(&job.interface)))
}

fn wait_for(job: &XdpJob) -> Result<u32, Fault> {
    let start = Instant::now();
    loop {
        match netlink::interface(&job.interface) {
            Ok(Some(interface)) => return Ok(interface.index),
            Ok(None) if start.elapsed() >= job.wait => {
                let fault = no_interface(&job.interface);
                return Err(match job.wait.is_zero() {
                    true => fault,
                    false => fault.about(format_args!("waited {:?}", job.wait)),
                });
            }
            Ok(None) => std::thread::sleep(LOOK_AGAIN.min(job.wait)),
            Err(error) => {
                return Err(Fault::io(Cause::Attach, format!("ask the kernel for {}", job.interface), &error));
            }
        }
    }
}
