//! What runs inside the loader child: it builds the next generation of pins in the stage, and tells its parent.
//!
//! By the time this runs, the process holds only what the plan needs. Whatever dies here costs one item, not the
//! health code; whatever it leaves in the stage, the parent commits or sweeps.

use std::{
    fs::{self, File},
    io::Write,
    mem,
    path::Path,
    slice,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::Instant,
};

use super::{
    choice::Refused,
    crew::Give,
    finish::finish,
    generation::{entries, remove, remove_dir},
    job::Job,
    layout::Machine,
    load::Loaded,
    open::{KernelBtf, Opened, Parsed, open},
    outside::Outside,
    pipeline::{Pipeline, Task},
    plan::{BpfPlan, ObjectPlan},
    proof::How,
    record::Record,
    store::{Shelf, Store},
    wire::{Event, Span},
};
use crate::{
    config::{PinName, Table},
    error::{Cause, Fault},
};

/// The child's side of the pipe, shared by its threads.
pub struct Out {
    said: Mutex<Said>,
    /// When the run began.
    pub began: Instant,
}

struct Said {
    pipe: File,
    bytes: usize,
    /// What can wait for more to be said.
    waiting: String,
    /// The objects that are being read.
    read: Vec<String>,
}

/// After so many bytes, logs are left out: the parent hears no more than twice this.
const LOGS_MAX: usize = 8 << 20;
/// The parent begins to read what is there of so many bytes.
const WAITING_MAX: usize = 16 << 10;

impl Out {
    /// Takes the pipe.
    pub fn new(pipe: File, began: Instant) -> Self {
        Self { said: Mutex::new(Said { pipe, bytes: 0, waiting: String::new(), read: Vec::new() }), began }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since `start`, as the report has it.
    pub fn span(&self, start: Instant) -> Span {
        Span::since(self.began, start)
    }

    /// Sends one event. A parent that is gone is no reason to stop: it will never commit.
    pub fn send(&self, event: &Event) {
        let mut said = self.said();
        let line = match event {
            Event::Failed { id, optional, span, fault } if said.bytes > LOGS_MAX => {
                let (id, fault) = (id.clone(), fault.clone().detail(""));
                Event::Failed { id, optional: *optional, span: *span, fault }.line()
            }
            event => event.line(),
        };
        said.bytes += line.len();
        said.waiting.push_str(&line);
        match event {
            Event::Done { .. } if said.waiting.len() < WAITING_MAX => return,
            // The parent is to blame an object that is being read for what happens meanwhile.
            Event::Begin(id) if let Some(read) = said.read.last().filter(|read| *read != id) => {
                let line = Event::Begin(read.clone()).line();
                said.waiting.push_str(&line);
            }
            _ => {}
        }
        let waiting = mem::take(&mut said.waiting);
        let _ = said.pipe.write_all(waiting.as_bytes());
    }

    /// Does what interprets an object, of which this process may die.
    pub fn reading<T>(&self, object: &PinName, work: impl FnOnce() -> T) -> T {
        let id = format!("object {object}");
        self.said().read.push(id.clone());
        self.send(&Event::Begin(id.clone()));
        let done = work();
        self.said().read.retain(|read| *read != id);
        done
    }

    /// Tells that an item failed.
    pub fn failed(&self, id: String, optional: bool, start: Instant, fault: Fault) {
        self.send(&Event::Failed { id, optional, span: self.span(start), fault });
    }

    /// Notes and tells that a program gives way to another.
    pub fn refused(&self, object: &PinName, refused: Refused, record: &mut Record) {
        let (id, why) = refused.line(object);
        self.send(&Event::Skipped { id, why });
        record.refused.push(refused);
    }

    /// Tells that an item is there.
    pub fn done(&self, id: String, now: String, note: String, span: Span, facts: &[(&str, String)]) {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.send(&Event::Done { id, now, note, span, facts });
    }
}

/// A required item failed and was reported: nothing more is worth doing.
pub struct GaveUp;

/// One object on its way into the stage.
pub struct Work<'a> {
    /// What was planned for it.
    pub plan: &'a ObjectPlan,
    /// The object once it has its maps, or why it cannot have them; nothing when it is carried over.
    pub opened: OnceLock<Result<Opened, Fault>>,
    /// Its programs that were loaded, or not, and that nobody has taken note of.
    pub unsettled: Mutex<Vec<Loaded<'a>>>,
    /// What is known of it so far.
    pub record: Record,
    /// When it was opened, before it had maps.
    pub opening: Span,
    /// Its programs whose load was tried; when that was, until it is told.
    pub tried: Table<PinName, Option<Span>>,
    /// A program that the object cannot do without failed.
    pub lost: bool,
}

/// Builds the whole next generation, but for the objects `without`: those failed before, and were told of.
///
/// # Errors
/// [`GaveUp`] after a required item was reported as failed.
pub fn run(plan: &BpfPlan, without: &[String], machine: Machine, out: &Out) -> Result<(), GaveUp> {
    let store = &plan.store;
    let outside = &Outside::gather(plan).map_err(|fault| {
        out.failed("loader".into(), false, Instant::now(), fault);
        GaveUp
    })?;
    let kernel_btf = &KernelBtf { outside, parsed: OnceLock::new() };
    for name in &plan.carry {
        carry_whole(store, name, outside).map_err(|fault| {
            out.failed(format!("object {name}"), false, Instant::now(), fault);
            GaveUp
        })?;
    }
    let begun = Instant::now();
    let places: Vec<OnceLock<Work<'_>>> = plan.objects.iter().map(|_| OnceLock::new()).collect();
    let pipeline = Pipeline { store, machine, outside, kernel_btf, out, hopeless: AtomicBool::new(false) };
    let mut fed = Ok(());
    pipeline.run(plan, &mut |give| fed = feed(plan, without, &places, &pipeline, give));
    fed?;
    let mut works = Vec::new();
    for work in places.into_iter().filter_map(OnceLock::into_inner) {
        match work.opened.get() {
            Some(Err(fault)) => give_up_on(&work.plan.job, store, outside, Object(fault.clone(), begun), out)?,
            _ => works.push(work),
        }
    }
    pipeline.load_others(&mut works)?;
    for work in works {
        // Descriptors of pinned things are let go by _exit, not here: closing is work nobody waits for.
        let mut work = mem::ManuallyDrop::new(work);
        let job = &work.plan.job;
        let mut finished = Ok(false);
        while let Ok(false) = finished
            && !work.lost
        {
            finished = finish(&mut work, store, outside, out);
            pipeline.load_others(slice::from_mut(&mut work))?;
        }
        match finished {
            Err(fault) => give_up_on(job, store, outside, fault, out)?,
            Ok(_) if work.lost => left(job, store, outside, out)?,
            Ok(_) => {}
        }
    }
    out.send(&Event::End);
    Ok(())
}

/// Reads all objects, and hands out those that were parsed: the optional ones last.
fn feed<'a, 'w>(
    plan: &'a BpfPlan,
    without: &[String],
    places: &'w [OnceLock<Work<'a>>],
    pipeline: &Pipeline<'_>,
    give: Give<'_, Task<'a, 'w>>,
) -> Result<(), GaveUp> {
    let Pipeline { store, outside, kernel_btf, out, .. } = *pipeline;
    let mut optional = Vec::new();
    for (place, plan) in places.iter().zip(&plan.objects) {
        if without.contains(&format!("object {}", plan.job.name)) {
            left(&plan.job, store, outside, out)?;
        } else if let Some((work, parsed)) = begin(plan, store, kernel_btf, out)? {
            let work = place.get_or_init(|| work);
            match parsed {
                Some(parsed) if plan.job.optional => optional.push((work, parsed)),
                Some(parsed) => pipeline.hand_out(work, parsed, give),
                None => {}
            }
        }
    }
    optional.into_iter().for_each(|(work, parsed)| pipeline.hand_out(work, parsed, give));
    Ok(())
}

/// Begins an object: parsed, unless it is carried over.
fn begin<'a>(
    plan: &'a ObjectPlan,
    store: &Store,
    btf: &KernelBtf<'_>,
    out: &Out,
) -> Result<Option<(Work<'a>, Option<Parsed>)>, GaveUp> {
    let job = &plan.job;
    let start = Instant::now();
    let read = out.reading(&job.name, || {
        store.stage().make(&job.name)?;
        match &plan.found.how {
            How::Keep(record) => carry(store, &job.name, record).map(|()| (None, record.clone())),
            How::Load(_) => open(job, btf).map(|parsed| {
                let record = Record { spec: job.spec.clone(), refused: job.refused.clone(), ..Record::default() };
                (Some(parsed), record)
            }),
        }
    });
    match read {
        Ok((parsed, record)) => {
            let (opened, unsettled) = (OnceLock::new(), Mutex::default());
            let (opening, tried) = (out.span(start), Table::default());
            Ok(Some((Work { plan, opened, unsettled, record, opening, tried, lost: false }, parsed)))
        }
        Err(fault) => give_up_on(job, store, btf.outside, Object(fault, start), out).map(|()| None),
    }
}

/// A failure of a whole object, with when it began.
pub struct Object(pub Fault, pub Instant);

/// An object that is optional leaves the stage.
fn give_up_on(
    job: &Job,
    store: &Store,
    outside: &Outside,
    Object(fault, start): Object,
    out: &Out,
) -> Result<(), GaveUp> {
    out.failed(format!("object {}", job.name), job.optional, start, fault);
    if !job.optional {
        return Err(GaveUp);
    }
    left(job, store, outside, out)
}

/// Has an optional object left the stage? What cannot be left would be made live.
fn left(job: &Job, store: &Store, outside: &Outside, out: &Out) -> Result<(), GaveUp> {
    leave(job, store, outside).map_err(|fault| {
        out.failed(format!("object {}", job.name), false, Instant::now(), fault);
        GaveUp
    })
}

/// Takes an object out of the stage; what was live of it stays live.
fn leave(job: &Job, store: &Store, outside: &Outside) -> Result<(), Fault> {
    clear(&store.stage().object(&job.name))?;
    carry_whole(store, &job.name, outside)
}

/// Takes an object over as it is, links and all. An XDP link whose interface is gone stays behind.
fn carry_whole(store: &Store, object: &PinName, outside: &Outside) -> Result<(), Fault> {
    let Some(mut record) = Record::read(&store.live().object(object))? else { return Ok(()) };
    store.stage().make(object)?;
    carry(store, object, &record)?;
    record.links.retain(|link| {
        let known = outside.link(&store.live().pin(object, Shelf::Links, &link.name));
        let alive = || known.is_some_and(|link| link.ifindex != Some(0));
        !link.target.starts_with("xdp ") || (alive() && carry_pin(store, object, Shelf::Links, &link.name).is_ok())
    });
    record.write(&store.stage().object(object))
}

/// Empties an object's directory in the stage, where nobody but us writes.
fn clear(dir: &Path) -> Result<(), Fault> {
    for shelf in Shelf::ALL {
        for file in entries(&dir.join(shelf.dir()))? {
            remove(&dir.join(shelf.dir()).join(file))?;
        }
        remove_dir(&dir.join(shelf.dir()))?;
    }
    Record::remove(dir)?;
    remove_dir(dir).map(drop)
}

/// Gives every pin of the live generation a second name in the stage.
fn carry(store: &Store, object: &PinName, record: &Record) -> Result<(), Fault> {
    let programs = record.programs.iter().map(|(name, _)| (Shelf::Progs, name));
    let maps = record.maps.iter().map(|(name, _)| (Shelf::Maps, name));
    programs.chain(maps).try_for_each(|(shelf, name)| carry_pin(store, object, shelf, name))?;
    record
        .links
        .iter()
        .filter(|link| !link.target.starts_with("xdp "))
        .try_for_each(|link| carry_pin(store, object, Shelf::Links, &link.name))
}

/// Gives one pin of the live generation a second name in the stage.
///
/// # Errors
/// A [`Cause::Pin`] fault.
pub fn carry_pin(store: &Store, object: &PinName, shelf: Shelf, name: &PinName) -> Result<(), Fault> {
    let (live, stage) = (store.live().pin(object, shelf, name), store.stage().pin(object, shelf, name));
    match fs::hard_link(&live, &stage) {
        Ok(()) => Ok(()),
        Err(e) => Err(Fault::io(Cause::Pin, format!("link {} to {}", live.display(), stage.display()), &e)),
    }
}
