//! The part of the plan that is about objects: what is there, what must be loaded, attached, carried over or retired,
//! and what is known to be impossible before anything is written. Reads only.

use std::time::Duration;

use super::{
    around::Around,
    budget,
    choice::Refused,
    delegate::{self, Delegation},
    foresee::Kernel,
    generation::exists,
    impossible::{impossible, perf_event_paranoid, refuse_known},
    job::{Job, ProgramJob, XdpJob},
    kind::Kind,
    proof::{self, Found, How, XdpHow},
    record, source,
    store::Store,
};
use crate::{
    config::{Config, PinName},
    error::{Cause, Fault},
    facts::Facts,
    privilege::{self, Needs},
    reason::Reason,
    step::Undo,
};

/// The objects' part of a plan.
#[derive(Clone, Debug)]
pub struct BpfPlan {
    /// The pin directory.
    pub store: Store,
    /// Objects of the configuration, by name.
    pub objects: Vec<ObjectPlan>,
    /// Objects whose file is not usable.
    pub broken: Vec<Broken>,
    /// Live objects that keep their pins as they are: those of `broken`, and those set aside.
    pub carry: Vec<PinName>,
    /// Live objects that are no longer in the configuration.
    pub retire: Vec<PinName>,
    /// What lies around the pins.
    pub around: Around,
    /// Why it cannot be told what is live.
    pub unread: Option<Fault>,
    /// How long loading may take, waits for interfaces included.
    pub deadline: Duration,
    /// Whether a budget counts on what maps are estimated to take.
    pub budgeted: bool,
    /// Maps that are made smaller than asked for.
    pub notes: Vec<String>,
}

/// One object.
#[derive(Clone, Debug)]
pub struct ObjectPlan {
    /// What is wanted.
    pub job: Job,
    /// What is there.
    pub found: Found,
}

/// An object that cannot even be planned.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name.
    pub name: PinName,
    /// Whether the run may go on without it.
    pub optional: bool,
    /// Whether a file that the configuration names is none that can be read: a mistake of the configuration.
    pub unread: bool,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Something that cannot work here, known before any write.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// The item: `link edge/xdp_main@eth0`.
    pub id: String,
    /// Whether the run may go on without it.
    pub optional: bool,
    /// Why.
    pub fault: Fault,
}

impl ObjectPlan {
    /// The programs that others are used instead of, as far as it is known.
    pub fn refused(&self) -> &[Refused] {
        match &self.found.how {
            How::Keep(record) => &record.refused,
            How::Load(_) => &self.job.refused,
        }
    }

    /// The programs to have, or to try first.
    pub fn wanted(&self) -> impl Iterator<Item = &ProgramJob> {
        self.job.programs.iter().filter(|program| program.is_wanted(self.refused()))
    }

    /// Whether anything of it must change.
    pub fn changes(&self) -> bool {
        matches!(self.found.how, How::Load(_))
            || self.found.links.iter().any(|link| matches!(link.how, XdpHow::Attach | XdpHow::Update))
    }
}

impl BpfPlan {
    /// Looks at every object of the configuration and at its pins.
    pub fn new(config: &Config, facts: &Facts, allow_untrusted: bool) -> Self {
        let store = Store::new(&config.bpf.root);
        let (mut jobs, mut broken) = (Vec::new(), Vec::new());
        let kernel = facts.target().map(Kernel::new);
        for wish in config.objects.values() {
            let read = source::read(&wish.source, allow_untrusted).and_then(|bytes| {
                let btf = wish.btf.as_deref().map(|path| source::open_btf(path, allow_untrusted)).transpose()?;
                Ok((bytes, btf))
            });
            let unread = read.is_err();
            let job = read.and_then(|(bytes, btf)| match facts.target() {
                None => Job::new(wish, bytes, btf),
                target => Job::on(target, wish, bytes, btf),
            });
            match job {
                Ok(job) => jobs.push(job),
                Err(fault) => broken.push(Broken {
                    name: wish.name.clone(),
                    optional: wish.optional,
                    unread,
                    fault: fault.configured_at(&wish.origin),
                }),
            }
        }
        let (over, notes) = budget::keep(&mut jobs, config, facts);
        broken.extend(over);
        let look = |mut job: Job| {
            refuse_known(&mut job, facts);
            // The feature is asked for here as well, or the small build carries all that foresees.
            if cfg!(feature = "workbench")
                && let Some(kernel) = &kernel
            {
                job.outlook = Some(kernel.foresee(&job));
                refuse_known(&mut job, facts);
                return ObjectPlan { found: proof::unseen(&job), job };
            }
            ObjectPlan { found: proof::look(&store, &job), job }
        };
        let objects: Vec<_> = jobs.into_iter().map(look).collect();
        let (present, unread) = if kernel.is_some() { (Vec::new(), None) } else { record::live(&store) };
        let (carry, retire) = present
            .into_iter()
            .filter(|name| !objects.iter().any(|object: &ObjectPlan| object.job.name == *name))
            .partition(|name| broken.iter().any(|object: &Broken| object.name == *name));
        let around = match kernel.is_none() && store.exists().is_ok_and(|there| there) && store.trusted().is_ok() {
            true => Around::look(&store, |name| config.objects.contains_key(name)),
            false => Around::default(),
        };
        let waits: Duration = objects.iter().flat_map(|object| &object.job.xdp).map(|xdp| xdp.wait).sum();
        let (deadline, budgeted) = (config.bpf.deadline + waits, budget::any(config));
        Self { store, objects, broken, carry, retire, around, unread, deadline, budgeted, notes }
    }

    /// Takes out the optional objects of which a program that they need cannot work here. [`Self::blocked`] told why, and
    /// to load the rest of them first would be in vain. What is live of them stays.
    pub fn set_aside(&mut self, facts: &Facts) {
        let in_vain = |object: &ObjectPlan| {
            let mut needed = object.wanted().filter(|program| !program.optional);
            object.job.optional
                && matches!(object.found.how, How::Load(_))
                && (object.job.outlook.as_ref().is_some_and(|outlook| outlook.object.is_some())
                    || needed.any(|program| impossible(program, &object.job, facts).is_some()))
        };
        let (aside, rest) = std::mem::take(&mut self.objects).into_iter().partition(in_vain);
        self.objects = rest;
        let live = aside.into_iter().map(|object| object.job.name).filter(|_| facts.target().is_none());
        self.carry.extend(live.filter(|name| exists(&self.store.live().object(name)) != Ok(false)));
    }

    /// Leaves the objects and what is live to a user namespace, and gives what its bpffs must delegate: mount options.
    pub fn leave_to_others(&mut self) -> String {
        let delegation = match self.objects.is_empty() {
            true => String::new(),
            false => Delegation::of(self, false).to_string(),
        };
        self.objects.clear();
        self.carry.append(&mut self.retire);
        delegation
    }

    /// Whether the configuration requires a file that is none.
    pub fn is_bad_input(&self) -> bool {
        self.broken.iter().any(|object| object.unread && !object.optional)
    }

    /// What takes the pins back.
    pub fn undo(&self) -> Undo {
        Undo::Pins { root: self.store.root().display().to_string() }
    }

    /// Whether a new generation must be built.
    pub fn changes(&self) -> bool {
        !self.retire.is_empty() || self.objects.iter().any(ObjectPlan::changes)
    }

    /// How many programs will be loaded, unless alternatives must be tried.
    pub fn programs_to_load(&self) -> usize {
        self.loads().map(|object| object.wanted().count()).sum()
    }

    /// Narrows the plan to one new XDP attachment of a loaded object; everything else is carried over as it is. Gives
    /// the object's new index.
    ///
    /// # Errors
    /// A [`Cause::Object`] fault when that object is not loaded as the configuration has it.
    pub fn only_attach(&mut self, index: usize, xdp: impl FnOnce(&Job) -> XdpJob) -> Result<usize, Fault> {
        let name = self.objects.get(index).map(|object| object.job.name.clone());
        self.carry.append(&mut self.retire);
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.objects).into_iter().partition(|object| Some(&object.job.name) == name.as_ref());
        for object in others {
            if exists(&self.store.live().object(&object.job.name))? {
                self.carry.push(object.job.name);
            }
        }
        self.objects = kept;
        let Some(object) = self.objects.first_mut() else {
            return Err(Fault::new(Cause::Object, "there is no such object"));
        };
        if let How::Load(why) = &object.found.how {
            return Err(Fault::new(
                Cause::Object,
                format!("object {} is not loaded as configured: {why}", object.job.name),
            )
            .mend("bpfboot apply"));
        }
        let xdp = xdp(&object.job);
        object.found.links.retain(|link| {
            link.job.link_name() != xdp.link_name() && !matches!(link.how, XdpHow::Attach | XdpHow::Blocked(_))
        });
        object.found.links.push(proof::look_at_xdp(&self.store, &object.job.name, &xdp));
        self.deadline += xdp.wait;
        Ok(0)
    }

    /// The objects that will be loaded.
    pub(super) fn loads(&self) -> impl Iterator<Item = &ObjectPlan> {
        self.objects.iter().filter(|object| matches!(object.found.how, How::Load(_)))
    }

    /// What the loader child must be able to do (kernel-facts section F).
    pub fn needs(&self, facts: &Facts) -> Needs {
        // Those of alternatives, too, that may never be tried.
        let mut kinds = Vec::new();
        self.loads().for_each(|object| kinds.extend(object.job.programs.iter().map(|program| program.kind)));
        let any = |test: &dyn Fn(Kind) -> bool| kinds.iter().any(|kind| test(*kind));
        // The perf PMU for uprobes asks for CAP_SYS_ADMIN itself (perf_uprobe_event_init()), and kernels that know
        // perf_event_paranoid above 2 are patched to ask for it before CAP_PERFMON counts.
        let patched = any(&Kind::uses_perf_link) && perf_event_paranoid() > 2;
        Needs {
            bpf: self.loads().next().is_some(),
            // Without it the verifier also walks the paths that only speculation takes, and refuses loops (section D).
            perfmon: !kinds.is_empty(),
            net_admin: any(&Kind::needs_net_admin) || self.loads().any(|object| object.job.net_maps()),
            sys_admin: patched || any(&|kind| matches!(kind, Kind::Uprobe | Kind::Uretprobe)),
            dac_override: false,
            before_5_8: facts.needs_sys_admin_for_bpf(),
        }
    }

    /// What cannot work on this kernel, with these privileges, on these interfaces.
    pub fn blocked(&self, facts: &Facts) -> Vec<Blocked> {
        let mut blocked: Vec<_> = self
            .broken
            .iter()
            .map(|object| Blocked {
                id: format!("object {}", object.name),
                optional: object.optional,
                fault: object.fault.clone(),
            })
            .collect();
        let pins = || match self.store.exists() {
            Ok(true) => self.store.trusted().err().or(self.unread.clone()),
            Ok(false) => None,
            Err(fault) => Some(fault),
        };
        if !self.objects.is_empty()
            && facts.target().is_none()
            && let Some(fault) = pins()
        {
            let optional = self.objects.iter().all(|object| object.job.optional);
            blocked.push(Blocked { id: format!("pins {}", self.store.root().display()), optional, fault });
        }
        for object in self.loads() {
            let job = &object.job;
            if let Some(fault) = job.outlook.as_ref().and_then(|outlook| outlook.object.clone()) {
                blocked.push(Blocked { id: format!("object {}", job.name), optional: job.optional, fault });
            }
            for program in object.wanted() {
                if let Some(fault) = impossible(program, job, facts) {
                    let instead = program.note(&job.refused, String::new());
                    let fault = if instead.is_empty() { fault } else { fault.about(instead) };
                    let id = format!("program {}/{}", job.name, program.name);
                    blocked.push(Blocked { id, optional: program.optional || job.optional, fault });
                }
            }
        }
        for object in &self.objects {
            for link in &object.found.links {
                if let XdpHow::Blocked(fault) = &link.how {
                    let id = format!("link {}/{}", object.job.name, link.job.link_name());
                    blocked.push(Blocked {
                        id,
                        optional: link.job.optional || object.job.optional,
                        fault: fault.clone(),
                    });
                }
            }
        }
        blocked.extend(self.unprivileged(facts));
        blocked
    }

    fn unprivileged(&self, facts: &Facts) -> Option<Blocked> {
        let object = self.loads().next().filter(|_| facts.target().is_none())?;
        let needs = self.needs(facts);
        let fault = match privilege::suffices(needs) {
            // What is missing is asked for by a patched kernel alone.
            Err(fault)
                if perf_event_paranoid() > 2
                    && privilege::suffices(Needs { sys_admin: facts.needs_sys_admin_for_bpf(), ..needs }).is_ok() =>
            {
                let what = "kernel.perf_event_paranoid is above 2, which asks for more than CAP_PERFMON";
                fault.about(what).by(Reason::Paranoid)
            }
            Err(fault) => fault.about("loading needs more than this process holds"),
            Ok(()) if facts.initial_userns => return None,
            Ok(()) => delegate::suffices(self).err()?,
        };
        Some(Blocked {
            id: format!("object {}", object.job.name),
            optional: self.objects.iter().all(|object| object.job.optional),
            fault,
        })
    }
}
