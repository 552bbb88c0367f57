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
    wire::Event,
};
use crate::{
    config::LimitKind,
    error::{Cause, Fault},
    facts::KernelVersion,
    privilege::{self, Needs},
    sys::{
        cpu, limit,
        process::{self, End, Side},
    },
};

/// How often the parent looks whether a signal came.
const LISTEN: Duration = Duration::from_millis(200);

/// More than this from one child is not a report: 500 programs with a 16 MiB verifier log each are not forwarded.
const MOST_BYTES: usize = 64 << 20;

/// Builds the next generation in the stage, in a child that holds only what `needs` says. `hear` gets every event as
/// it comes.
///
/// # Errors
/// The fault that ended the child: its own word was already given to `hear` as [`Event::Failed`] when this is `None`.
pub fn stage(plan: &BpfPlan, needs: Needs, hear: &mut dyn FnMut(Event)) -> Result<(), Option<Fault>> {
    let internal = |what: &str, e: &std::io::Error| Some(Fault::io(Cause::Kernel, what, e));
    plan.store.prepare().map_err(Some)?;
    let (reader, writer) = process::pipe().map_err(|e| internal("make a pipe", &e))?;
    let child = match process::fork().map_err(|e| internal("fork the loader", &e))? {
        Side::Parent(child) => child,
        Side::Child => {
            drop(reader);
            process::exit_now(in_child(plan, needs, &Out::new(File::from(writer))))
        }
    };
    drop(writer);
    let mut ear = Ear {
        reader: File::from(reader),
        buffer: Vec::new(),
        last: String::new(),
        ended: false,
        failed: false,
        heard: 0,
    };
    let start = Instant::now();
    let stopped = loop {
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
        let left = plan.deadline.saturating_sub(start.elapsed()).min(LISTEN);
        if process::wait_readable(&ear.reader, left.max(Duration::from_millis(1))) && !ear.listen(hear) {
            break None;
        }
    };
    if stopped.is_some() {
        child.kill();
    }
    let end = child.wait();
    match (stopped, end) {
        (Some(fault), _) => Err(Some(fault)),
        (None, End::Exit(0)) if ear.ended => Ok(()),
        (None, _) if ear.failed => Err(None),
        (None, end) => Err(Some(died(&ear.last, end))),
    }
}

fn died(at: &str, end: End) -> Fault {
    let how = match end {
        End::Exit(code) => format!("the loader ended with code {code}"),
        End::Signal(libc::SIGKILL) => "the loader was killed (SIGKILL; the OOM killer? dmesg | tail)".to_owned(),
        End::Signal(signal) => format!("the loader died of signal {signal}"),
    };
    match at.strip_prefix("object ") {
        Some(name) => {
            Fault::new(Cause::Object, format!("object {name}: not a usable BPF object: {how} while reading it"))
                .mend("rebuild the object, and check the copy: sha256sum FILE")
        }
        None => Fault::new(Cause::Kernel, format!("{how} at {at}")).mend("look at the kernel log: dmesg | tail"),
    }
}

fn in_child(plan: &BpfPlan, needs: Needs, out: &Out) -> i32 {
    if KernelVersion::running() < (KernelVersion { major: 5, minor: 11 }) {
        // Maps and programs were charged to it until 97306be45fbe. Where it cannot be raised, a map that does not fit
        // says so.
        let _ = limit::set(LimitKind::Memlock, limit::UNLIMITED, limit::UNLIMITED);
    }
    // First of all: nothing of the objects may be interpreted before the privileges are gone.
    if let Err(fault) = privilege::narrow(needs) {
        out.send(&Event::Failed { id: "privilege of the loader".into(), optional: false, took: Duration::ZERO, fault });
        return 1;
    }
    process::die_with_parent();
    limit::bound_loader(memory(plan));
    let end = child::run(plan, Machine { page: process::page_size(), cpus: cpu::possible() }, out);
    #[cfg(hostile)]
    hostile::run();
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

/// The reading end of the pipe.
struct Ear {
    reader: File,
    buffer: Vec<u8>,
    last: String,
    ended: bool,
    failed: bool,
    heard: usize,
}

impl Ear {
    /// Reads what is there. `false`: the other end is gone, or does not make sense.
    fn listen(&mut self, hear: &mut dyn FnMut(Event)) -> bool {
        let mut chunk = [0; 16 << 10];
        let got = match self.reader.read(&mut chunk) {
            Ok(0) => return false,
            Ok(got) => got,
            Err(error) => return error.kind() == std::io::ErrorKind::Interrupted,
        };
        self.heard += got;
        self.buffer.extend_from_slice(chunk.get(..got).unwrap_or_default());
        if self.heard > MOST_BYTES {
            return false;
        }
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let Some(event) = Event::parse(text.trim_end_matches('\n')) else { return false };
            match &event {
                Event::Begin(id) => self.last.clone_from(id),
                Event::Failed { optional: false, .. } => self.failed = true,
                Event::End => self.ended = true,
                _ => {}
            }
            hear(event);
        }
        true
    }
}
