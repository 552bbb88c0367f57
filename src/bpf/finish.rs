//! The last stretch of an object in the stage: pins, program arrays, attachments, and the record of who they are.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use super::{
    attach,
    child::{Object, Out, Work, carry_pin},
    fault::of_pin,
    generation::remove,
    job::{Job, ProgramJob, mode_word, target},
    layout::Layout,
    open::Opened,
    outside::Outside,
    proof::{How, XdpHow, XdpPlan},
    record::{LinkRecord, Record},
    store::{Shelf, Store},
    wire::{Event, Span},
};
use crate::{
    config::{AttachWish, PinName},
    error::{Cause, Fault},
    sys::bpf,
};

/// One object being finished.
struct Finish<'a> {
    job: &'a Job,
    store: &'a Store,
    outside: &'a Outside,
    /// What was loaded; `None` when it is carried over.
    opened: Option<&'a Opened>,
    /// XDP links made here.
    made: Vec<OwnedFd>,
    out: &'a Out,
    record: &'a mut Record,
}

/// Fills program arrays, attaches what was loaded, and writes the record. `false`: a program could not be
/// attached and gave way to another, so that must be loaded first.
///
/// # Errors
/// What made the object unusable; an optional program or attachment that fails is only reported.
pub fn finish(work: &mut Work<'_>, store: &Store, outside: &Outside, out: &Out) -> Result<bool, Object> {
    let start = Instant::now();
    let failed = |fault| Object(fault, start);
    let job = &work.plan.job;
    let opened = work.opened.get().and_then(|opened| opened.as_ref().ok());
    let before = work.record.refused.len();
    let mut finish = Finish { job, store, outside, opened, made: Vec::new(), out, record: &mut work.record };
    if let Some(opened) = opened {
        finish.fill_program_arrays(opened).map_err(failed)?;
        for program in &job.programs {
            if let Some(span) = work.tried.get_mut(&program.name).and_then(Option::take) {
                finish.attach(program, span, opened).map_err(failed)?;
            }
        }
        if finish.record.refused.len() > before {
            return Ok(false);
        }
        finish.keep_maps(opened).map_err(failed)?;
        let why = match &work.plan.found.how {
            How::Load(why) => why.clone(),
            How::Keep(_) => String::new(),
        };
        let sha256 = job.sha256();
        let now = format!("sha256 {}", sha256.get(..16).unwrap_or_default());
        out.done(
            format!("object {}", job.name),
            now,
            why,
            work.opening,
            &[("sha256", sha256), ("confined", outside.walls.clone())],
        );
    }
    finish.record.links.retain(|link| !link.target.starts_with("xdp "));
    let mut wanted = work.plan.found.links.iter().filter(|xdp| !matches!(xdp.how, XdpHow::Blocked(_)));
    let attached = wanted.try_for_each(|xdp| finish.attach_xdp(xdp));
    attached.and_then(|()| finish.record.write(&store.stage().object(&job.name))).map(|()| true).map_err(|fault| {
        // With the last reference they would go as well, but only when the kernel finds the time.
        finish.made.iter().for_each(|link| drop(bpf::detach_link(link.as_fd())));
        failed(fault)
    })
}

impl Finish<'_> {
    /// Puts programs behind the indexes that name them, or name what they are used instead of.
    fn fill_program_arrays(&self, opened: &Opened) -> Result<(), Fault> {
        for (name, wish) in &self.job.maps {
            let Some(array) = opened.maps.iter().find(|map| map.name.as_str() == name) else { continue };
            for (index, mut program) in wish.programs.iter().map(|(index, program)| (index, program.as_str())) {
                while let Some(refused) = self.record.refused.iter().find(|refused| refused.program.as_str() == program)
                {
                    program = refused.next.as_str();
                }
                let handler = opened.loaded.iter().find(|(name, _)| name.as_str() == program);
                // A handler that is optional and failed leaves its slot empty: the tail call falls through.
                let Some((_, (handler, _))) = handler else { continue };
                let number = handler.as_raw_fd().to_ne_bytes();
                bpf::write_entry(array.fd.as_fd(), &index.to_ne_bytes(), &number).map_err(|e| {
                    Fault::io(Cause::Map, format!("map {name}: put program {program} at index {index}"), &e)
                        .mend("is it a program array, large enough, and are its programs all of one kind?")
                })?;
            }
        }
        Ok(())
    }

    fn keep_maps(&mut self, opened: &Opened) -> Result<(), Fault> {
        let job = self.job;
        for map in &opened.maps {
            let pin = job.maps.get(map.name.as_str()).is_none_or(|wish| wish.pin);
            if pin {
                self.record.maps.push((map.name.clone(), map.identity));
            } else {
                let path = self.store.stage().pin(&job.name, Shelf::Maps, &map.name);
                fs::remove_file(&path).map_err(|e| Fault::io(Cause::Pin, format!("unpin {}", path.display()), &e))?;
            }
            let facts = [("id", map.identity.id.to_string()), ("pinned", pin.to_string())];
            let now = Layout::pinned(&map.identity).to_string();
            let span = Span::of(self.out.began, map.made.0, map.made.1);
            self.out.done(format!("map {}/{}", job.name, map.name), now, map.note.clone(), span, &facts);
        }
        Ok(())
    }

    fn attach(&mut self, program: &ProgramJob, span: Span, opened: &Opened) -> Result<(), Fault> {
        let job = self.job;
        let in_program = |fault: Fault| fault.about(format_args!("program {}", program.name));
        let Some((fd, identity)) = opened.loaded.get(&program.name) else { return Ok(()) };
        let (before, mut spans) = (self.record.links.len(), Vec::new());
        let attached = program.attach.iter().try_for_each(|wish| {
            let start = Instant::now();
            let attached = self.attach_tracing(program, wish, fd.as_fd());
            spans.resize(self.record.links.len() - before, self.out.span(start));
            attached
        });
        if let Err(fault) = &attached
            && let Some(refused) = program.refused(fault)
        {
            self.out.refused(&job.name, refused, self.record);
            self.let_go(before)?;
            return remove(&self.store.stage().pin(&job.name, Shelf::Progs, &program.name));
        }
        self.record.programs.push((program.name.clone(), *identity));
        let facts = [
            ("kind", program.kind.word().to_owned()),
            ("id", identity.id.to_string()),
            ("tag", identity.tag()),
            ("verified_instructions", identity.verified_instructions.to_string()),
        ];
        let is_attached = !program.attach.is_empty()
            || job.xdp.iter().any(|xdp| xdp.program == program.name)
            || job.jumped_to(program.name.as_str());
        let note = if is_attached { "" } else { program.kind.only_pinned() };
        let note = program.note(&self.record.refused, note.to_owned());
        let now = format!("{} id {} tag {}", program.kind.word(), identity.id, identity.tag());
        let id = format!("program {}/{}", job.name, program.name);
        self.out.done(id, now, note, span, &facts);
        for (link, span) in self.record.links.iter().skip(before).zip(spans) {
            let (id, facts) = (format!("link {}/{}", job.name, link.name), [("id", link.id.to_string())]);
            self.out.done(id, link.target.clone(), String::new(), span, &facts);
        }
        attached.map_err(in_program)
    }

    fn attach_tracing(&mut self, program: &ProgramJob, wish: &AttachWish, fd: BorrowedFd<'_>) -> Result<(), Fault> {
        let start = Instant::now();
        let names = program.link_names(wish);
        let first = format!("link {}/{}", self.job.name, names.first().map_or("", String::as_str));
        let place = format!("{} {}", program.kind.word(), target(wish));
        self.out.send(&Event::Begin(first.clone()));
        let before = self.record.links.len();
        let attached = attach::tracing(fd, program, wish, self.outside).and_then(|made| {
            for (name, link) in names.iter().zip(made) {
                let link = self.pin_link(name, &program.name, &place, &link)?;
                self.record.links.push(link);
            }
            Ok(())
        });
        match attached {
            Err(fault) if program.optional && program.refused(&fault).is_none() => {
                self.out.failed(first, true, start, fault);
                self.let_go(before)
            }
            attached => attached,
        }
    }

    /// Takes back the links but for the first so many.
    fn let_go(&mut self, before: usize) -> Result<(), Fault> {
        let links = self.record.links.split_off(before);
        links.iter().try_for_each(|link| remove(&self.store.stage().pin(&self.job.name, Shelf::Links, &link.name)))
    }

    fn pin_link(&self, name: &str, program: &PinName, place: &str, link: &OwnedFd) -> Result<LinkRecord, Fault> {
        let name = link_name(name)?;
        let path = self.store.stage().pin(&self.job.name, Shelf::Links, &name);
        bpf::pin(link.as_fd(), &path).map_err(|e| of_pin(&e, &path))?;
        let identity = bpf::link_identity(link.as_fd())
            .map_err(|e| Fault::io(Cause::Pin, format!("look at {}", path.display()), &e))?;
        // The pin holds the link from here on, so letting the descriptor go is not the last reference: that one would
        // make the kernel detach, and wait tens of milliseconds for it.
        Ok(LinkRecord { name, id: identity.id, program: program.clone(), target: place.to_owned() })
    }

    /// Brings one XDP attachment into the stage: carried over, or made new from the pinned program.
    fn attach_xdp(&mut self, plan: &XdpPlan) -> Result<(), Fault> {
        let (start, job, xdp) = (Instant::now(), self.job, &plan.job);
        let name = xdp.link_name();
        let id = format!("link {}/{name}", job.name);
        let optional = xdp.optional || job.optional || job.program(&xdp.program).is_some_and(|p| p.optional);
        let result = match &plan.how {
            XdpHow::Keep | XdpHow::Update => self.carry_link(plan, &name),
            XdpHow::Attach => self.new_xdp_link(plan, &name, &id),
            XdpHow::Blocked(fault) => Err(fault.clone()),
        };
        match result {
            Ok(link) => {
                if !matches!(plan.how, XdpHow::Keep) {
                    let update = matches!(plan.how, XdpHow::Update);
                    let note = if update { "its program is replaced in place" } else { "" };
                    let facts = [("id", link.id.to_string())];
                    self.out.done(id, link.target.clone(), note.into(), self.out.span(start), &facts);
                }
                self.record.links.push(link);
                Ok(())
            }
            Err(fault) if optional => {
                self.out.failed(id, true, start, fault);
                Ok(())
            }
            Err(fault) => Err(fault.about(format_args!("program {}", xdp.program))),
        }
    }

    fn carry_link(&self, plan: &XdpPlan, name: &str) -> Result<LinkRecord, Fault> {
        let (job, name) = (self.job, link_name(name)?);
        carry_pin(self.store, &job.name, Shelf::Links, &name)?;
        let old = Record::read(&self.store.live().object(&job.name))?.unwrap_or_default();
        let target = old.links.into_iter().find(|link| link.name == name).map(|link| link.target);
        let target = target.unwrap_or_else(|| format!("xdp {} {}", plan.job.interface, mode_word(plan.job.mode)));
        let live = self.store.live().pin(&job.name, Shelf::Links, &name);
        let gone = || Fault::new(Cause::Pin, format!("{} is not a link any more", live.display()));
        let identity = self.outside.link(&live).ok_or_else(gone)?;
        Ok(LinkRecord { name, id: identity.id, program: plan.job.program.clone(), target })
    }

    fn new_xdp_link(&mut self, plan: &XdpPlan, name: &str, id: &str) -> Result<LinkRecord, Fault> {
        self.out.send(&Event::Begin(id.to_owned()));
        let path = self.store.live().pin(&self.job.name, Shelf::Progs, &plan.job.program);
        let program = match self.opened {
            Some(opened) => opened.loaded.get(&plan.job.program).map(|(fd, _)| fd.as_fd()),
            None => self.outside.program(&path),
        };
        let absent = || Fault::new(Cause::Attach, "its program is not loaded");
        let (link, mode) = attach::xdp(program.ok_or_else(absent)?, &plan.job)?;
        let pinned = self.pin_link(name, &plan.job.program, &format!("xdp {} {mode}", plan.job.interface), &link);
        self.made.push(link);
        pinned
    }
}

fn link_name(name: &str) -> Result<PinName, Fault> {
    name.parse().map_err(|why| Fault::new(Cause::Pin, format!("the link name \"{name}\" cannot be a pin: {why}")))
}
