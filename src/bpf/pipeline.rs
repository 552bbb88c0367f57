//! Objects on their way through the crew: every map is made, every object relocated and every program loaded as soon as
//! it can be. What takes milliseconds is large maps, for their zeros, and large programs, for the verifier.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    child::{GaveUp, Out, Work},
    crew::{self, Give},
    layout::Machine,
    load::{Load, next_in_line, settle},
    maps,
    open::{KernelBtf, Parsed},
    outside::Outside,
    plan::BpfPlan,
    store::Store,
    wire::Event,
};
use crate::sys::process;

/// Maps for which a thread more is worth starting: a thread takes a tenth of a millisecond.
const MAPS_EACH: usize = 4;

/// Hands out all that can be begun at first.
pub type Feed<'f, 'a, 'w> = &'f mut dyn FnMut(Give<'_, Task<'a, 'w>>);

/// The next thing to do.
pub enum Task<'a, 'w> {
    /// A map of an object, and which one.
    Map(&'w Work<'a>, Arc<Parsed>, usize),
    /// A program of an object that has its maps.
    Program(Load<'a, 'w>),
}

/// What the tasks need, and leave.
pub struct Pipeline<'p> {
    pub store: &'p Store,
    pub machine: Machine,
    pub outside: &'p Outside,
    pub kernel_btf: &'p KernelBtf<'p>,
    pub out: &'p Out,
    /// A required object cannot be had: nothing more is worth doing.
    pub hopeless: AtomicBool,
}

impl Pipeline<'_> {
    /// Has the maps and programs of all objects made, on as many threads as are worth it.
    pub fn run<'a, 'w>(&self, plan: &BpfPlan, feed: Feed<'_, 'a, 'w>) {
        let maps: usize = plan.loads().map(|object| object.job.maps.iter().count()).sum();
        self.work((maps / MAPS_EACH).max(plan.programs_to_load()), feed);
    }

    /// Loads the programs that others gave way to, as long as there are any.
    ///
    /// # Errors
    /// As [`settle`].
    pub fn load_others(&self, works: &mut [Work<'_>]) -> Result<(), GaveUp> {
        loop {
            settle(works, self.out)?;
            let mut loads: Vec<_> = works.iter().flat_map(next_in_line).collect();
            if loads.is_empty() {
                return Ok(());
            }
            self.work(loads.len(), &mut |give| {
                give(&mut loads.drain(..).map(|load| (load.weight(), Task::Program(load))))
            });
        }
    }

    fn work<'a, 'w>(&self, tasks: usize, feed: Feed<'_, 'a, 'w>) {
        crew::work(process::usable_cpus().min(tasks), &|task, log, give| self.carry_out(task, log, give), feed);
    }

    /// Hands out an object that was parsed.
    pub fn hand_out<'a, 'w>(&self, work: &'w Work<'a>, parsed: Parsed, give: Give<'_, Task<'a, 'w>>) {
        let parsed = Arc::new(parsed);
        let required = !work.plan.job.optional;
        give(&mut parsed.defined.iter().enumerate().map(|(at, (_, map))| {
            // Memory is for what is required first.
            ((required, true, maps::bytes(map)), Task::Map(work, Arc::clone(&parsed), at))
        }));
        self.go_on(work, parsed, give);
    }

    /// Does a task.
    fn carry_out<'a, 'w>(&self, task: Task<'a, 'w>, log: &mut Vec<u8>, give: Give<'_, Task<'a, 'w>>) {
        if self.hopeless.load(Ordering::Relaxed) {
            return;
        }
        match task {
            Task::Map(work, parsed, at) => {
                let job = &work.plan.job;
                // What an optional object's maps do to this process, they are blamed for.
                self.out.send(&Event::Begin(format!("object {}", job.name)));
                parsed.make(at, job, self.store, self.machine, self.outside);
                self.go_on(work, parsed, give);
            }
            Task::Program(load) => load.carry_out(self.store, self.kernel_btf, self.out, log),
        }
    }

    /// Whoever has had the last of an object's maps made relocates it, and hands out its programs.
    fn go_on<'a, 'w>(&self, work: &'w Work<'a>, parsed: Arc<Parsed>, give: Give<'_, Task<'a, 'w>>) {
        let Some(parsed) = Arc::into_inner(parsed) else { return };
        let job = &work.plan.job;
        let opened = self.out.reading(&job.name, || parsed.take_maps(job));
        if opened.is_err() && !job.optional {
            self.hopeless.store(true, Ordering::Relaxed);
        }
        work.opened.get_or_init(|| opened);
        give(&mut next_in_line(work).map(|load| (load.weight(), Task::Program(load))));
    }
}
