//! The parent's side of the loader child: fork it, listen, and end it when its time is up.

use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

#[cfg(hostile)]
#[path = "../../tests/common/hostile.rs"]
mod hostile;

use super::{
    child::{self, Out},
    layout::Machine,
    plan::BpfPlan,
    wire::{Event, Span},
};
use crate::{
    config::LimitKind,
    error::{Cause, Fault},
    facts::KernelVersion,
    privilege::{self, Needs},
    reason::Reason,
    sys::{
        cpu, limit,
        process::{self, End, Side},
    },
};

/// How often the parent hears what was said, and looks whether a signal came.
const LISTEN: Duration = Duration::from_millis(10);

/// How long a loader that was killed, or has said its last word, may take to end.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// More than this from one child is not a report. Memory is never given back, and what is heard is kept in some copies.
const MOST_BYTES: usize = 16 << 20;
/// Longest line: a fault with what fits of the verifier's log.
const MOST_LINE: usize = 2 << 20;

/// Builds the next generation in the stage, in a child that holds only what `needs` says, of a run that began at `began`.
/// `meanwhile` is done while the child works, once for each child; `hear` gets every event as it comes.
///
/// # Errors
/// The fault that ended the child: its own word was already given to `hear` as [`Event::Failed`] when this is `None`.
pub fn stage(
    plan: &BpfPlan,
    needs: Needs,
    began: Instant,
    meanwhile: &dyn Fn(),
    hear: &mut dyn FnMut(Event),
) -> Result<(), Option<Fault>> {
    plan.store.prepare().map_err(Some)?;
    let optional = |id: &str| {
        let name = id.strip_prefix("object ").unwrap_or_default();
        plan.objects.iter().any(|object| object.job.optional && object.job.name.as_str() == name)
    };
    let (start, mut lost) = (Instant::now(), Vec::new());
    loop {
        let (without, mut ear) = (lost.clone(), Ear::default());
        let mut note = |event| {
            if let Event::Failed { id, optional: true, .. } = &event {
                lost.push(id.clone());
            }
            hear(event);
        };
        match attempt(plan, needs, &without, (began, start), meanwhile, &mut ear, &mut note) {
            // Objects are read before anything is done, so the others can begin again without this one.
            Err(Some(fault)) if fault.cause == Cause::Object && optional(&ear.last) && !without.contains(&ear.last) => {
                note(Event::Failed { id: ear.last, optional: true, span: Span::since(began, start), fault });
                plan.store.sweep().map_err(Some)?;
            }
            result => return result,
        }
    }
}

/// One child, to which the objects in `without` are lost already. The deadline counts from `start`.
fn attempt(
    plan: &BpfPlan,
    needs: Needs,
    without: &[String],
    (began, start): (Instant, Instant),
    meanwhile: &dyn Fn(),
    ear: &mut Ear,
    hear: &mut dyn FnMut(Event),
) -> Result<(), Option<Fault>> {
    let internal = |what: &str, e: &std::io::Error| Some(Fault::io(Cause::Kernel, what, e));
    let (reader, writer) = process::pipe().map_err(|e| internal("make a pipe", &e))?;
    let child = match process::fork().map_err(|e| internal("fork the loader", &e))? {
        Side::Parent(child) => child,
        Side::Child => {
            drop(reader);
            // A hostile build tells its test what it tried.
            if !cfg!(hostile) {
                process::leave_standard_descriptors(&writer);
            }
            let code = in_child(plan, needs, without, Out::new(File::from(writer), began));
            process::exit_now(code)
        }
    };
    drop(writer);
    meanwhile();
    let mut reader = File::from(reader);
    let mut plenty = false;
    let stopped = 'listen: loop {
        if process::stop_requested() {
            break Some(
                Fault::new(Cause::Signal, "stopped by a signal while loading").mend("run it again: bpfboot apply"),
            );
        }
        if start.elapsed() >= plan.deadline {
            break Some(
                Fault::new(
                    Cause::Deadline,
                    format!("the loader did not finish within {:?}; it was at {}", plan.deadline, ear.last),
                )
                .mend("[bpf] deadline = \"30s\""),
            );
        }
        let left = plan.deadline.saturating_sub(start.elapsed()).min(LISTEN).max(Duration::from_millis(1));
        // Woken by each word, we would take a CPU from the loader that many times. One who says much is not to wait.
        match plenty {
            true => process::wait_readable(&reader, left),
            false => process::wait_hang_up(&reader, left),
        };
        plenty = false;
        while process::wait_readable(&reader, Duration::ZERO) {
            let mut chunk = [0; 16 << 10];
            match reader.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) => break 'listen None,
                Err(error) => break 'listen internal("hear the loader", &error),
                Ok(got) => {
                    plenty |= got == chunk.len();
                    if !ear.take(chunk.get(..got).unwrap_or_default(), hear) {
                        break 'listen Some(nonsense(&ear.last));
                    }
                }
            }
        }
    };
    if stopped.is_some() {
        child.kill();
    }
    let end = child.wait(LAST_WAIT);
    match stopped {
        Some(fault) => Err(Some(match end {
            End::Stuck(_) => fault.detail(how(end)),
            _ => fault,
        })),
        None => ear.verdict(end),
    }
}

fn nonsense(at: &str) -> Fault {
    unusable(at, "the loader said what no loader says")
}

fn died(at: &str, end: End) -> Fault {
    let killed_by_filter = end == End::Signal(libc::SIGSYS);
    unusable(at, &how(end)).by(if killed_by_filter { Reason::Seccomp } else { Reason::Died })
}

fn how(end: End) -> String {
    match end {
        End::Exit(code) => format!("the loader ended with code {code}"),
        End::Signal(libc::SIGKILL) => "the loader was killed (SIGKILL; the OOM killer? dmesg | tail)".to_owned(),
        End::Signal(libc::SIGSYS) => "a seccomp filter killed the loader (SIGSYS)".to_owned(),
        End::Signal(signal) => format!("the loader died of signal {signal}"),
        End::Stuck(pid) => format!("the loader, process {pid}, hangs in the kernel and cannot be killed"),
    }
}

fn unusable(at: &str, how: &str) -> Fault {
    match at.strip_prefix("object ") {
        Some(name) => {
            Fault::new(Cause::Object, format!("object {name}: not a usable BPF object: {how} while reading it"))
                .mend("rebuild the object, and check the copy: sha256sum FILE")
        }
        None => Fault::new(Cause::Kernel, format!("{how} at {at}")).mend("look at the kernel log: dmesg | tail"),
    }
}

fn in_child(plan: &BpfPlan, needs: Needs, without: &[String], out: Out) -> i32 {
    if KernelVersion::running() < (KernelVersion { major: 5, minor: 11 }) {
        // Maps and programs were charged to it until 97306be45fbe. Where it cannot be raised, a map that does not fit
        // says so.
        let _ = limit::set(LimitKind::Memlock, limit::UNLIMITED, limit::UNLIMITED);
    }
    // First of all: nothing of the objects may be interpreted before the privileges are gone.
    if let Err(fault) = privilege::narrow(needs) {
        out.send(&Event::Failed {
            id: "privilege of the loader".into(),
            optional: false,
            span: Span::default(),
            fault,
        });
        return 1;
    }
    process::die_with_parent();
    limit::die_first();
    limit::bound_loader(memory(plan));
    let end = child::run(plan, without, Machine { page: process::page_size(), cpus: cpu::possible() }, &out);
    #[cfg(hostile)]
    hostile::run();
    // The parent takes in what was said while this process ends.
    drop(out);
    process::close_standard_descriptors();
    match end {
        Ok(()) => 0,
        Err(child::GaveUp) => 1,
    }
}

/// The most memory the loader may map. Measured: the kernel's BTF takes 17 MB, and an object some four times its size;
/// what is left over is for maps of initial values. Every thread has a stack and one log of the verifier, 17 MiB at most.
fn memory(plan: &BpfPlan) -> u64 {
    let objects: usize = plan.objects.iter().map(|object| object.job.bytes.elf.len()).sum();
    let threads = process::usable_cpus().min(plan.programs_to_load());
    ((256 << 20) + threads * (24 << 20) + 8 * objects) as u64
}

/// What was heard from the child.
#[derive(Default)]
pub struct Ear {
    /// The beginning of a line whose end is still to come.
    rest: Vec<u8>,
    last: String,
    ended: bool,
    failed: bool,
    heard: usize,
}

impl Ear {
    /// Takes what came. `false`: it does not make sense.
    pub fn take(&mut self, chunk: &[u8], hear: &mut dyn FnMut(Event)) -> bool {
        self.heard += chunk.len();
        if self.heard > MOST_BYTES {
            return false;
        }
        let mut chunk = chunk;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = chunk.split_at(end);
            chunk = rest.get(1..).unwrap_or_default();
            self.rest.extend_from_slice(line);
            let event = str::from_utf8(&self.rest).ok().and_then(Event::parse);
            self.rest.clear();
            let Some(event) = event else { return false };
            match &event {
                Event::Begin(id) => self.last.clone_from(id),
                Event::Failed { optional: false, .. } => self.failed = true,
                Event::End => self.ended = true,
                _ => {}
            }
            hear(event);
        }
        self.rest.extend_from_slice(chunk);
        self.rest.len() <= MOST_LINE
    }

    /// What became of a child that ended so; see [`stage`].
    ///
    /// # Errors
    /// As [`stage`].
    pub fn verdict(&self, end: End) -> Result<(), Option<Fault>> {
        match end {
            End::Exit(0) if self.ended && !self.failed => Ok(()),
            _ if self.failed => Err(None),
            end => Err(Some(died(&self.last, end))),
        }
    }
}
