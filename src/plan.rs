//! The whole plan, as data: the configuration held against the kernel. Looks, and writes nothing.
//!
//! `apply` walks it, `apply --dry-run` prints it, `check` compares it.

use crate::{
    act,
    bpf::{Blocked, BpfPlan},
    config::{Config, FsKind, Goal, LimitKind, LimitWish, MountWish, SysctlKey, SysctlWish, Table},
    facts::Facts,
    profiles::Profile,
    step::{Action, Must, Phase, Step, Undo, Verdict},
    tune::{knob, mount, sysctl},
};

/// The plan of one run.
#[derive(Debug)]
pub struct Plan {
    /// Tuning steps with what the kernel says of each, in the order they run.
    pub steps: Vec<(Step, Verdict)>,
    /// The objects.
    pub bpf: BpfPlan,
    /// Parts of the objects that are known to be impossible here.
    pub blocked: Vec<Blocked>,
    /// What the reader should know before anything is done.
    pub notes: Vec<String>,
}

impl Plan {
    /// Makes the plan. `taken` is what earlier runs changed and can still take back: a key among it that is no longer
    /// configured goes back to its old value.
    pub fn new(config: &Config, facts: &Facts, taken: &[Undo], allow_untrusted: bool) -> Self {
        let mut bpf = BpfPlan::new(config, facts, allow_untrusted);
        let mut notes = config.notes.clone();
        let mut steps = mounts(config);
        for step in &mut steps {
            // Inside a user namespace it was mounted by the host, and what is delegated can be loaded.
            if let Action::Mount(MountWish { delegate, delegation, .. }) = &mut step.action
                && facts.initial_userns
                && !delegate.as_os_str().is_empty()
            {
                *delegation = bpf.leave_to_others();
                notes.push(format!("objects are left to the user namespace {}", delegate.display()));
            }
        }
        steps.extend(sysctls(config, facts));
        steps.extend(knobs(config));
        steps.extend(limits(config));
        steps.extend(forgotten(&steps, taken, facts));
        // The mounts stand in front already; of the rest, what seals comes last. (A stable sort is 2 KB of code.)
        let (seal, now): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.phase == Phase::Seal);
        let mut steps = Vec::new();
        for step in [now, seal].into_iter().flatten() {
            let mut verdict = act::survey(&step, facts);
            if let (Action::Mount(wish), Verdict::Already { .. }) = (&step.action, &verdict)
                && taken.iter().any(|undo| matches!(undo, Undo::Unmount { fs, .. } if *fs == wish.fs))
            {
                verdict = mount::changed(wish).unwrap_or(verdict);
            }
            steps.push((step, verdict));
        }
        if facts.target().is_none() {
            await_mounts(&mut steps, facts);
        }
        notes.append(&mut bpf.notes);
        let blocked = bpf.blocked(facts);
        bpf.set_aside(facts);
        notes.extend(vanishing(config, facts));
        Self { steps, bpf, blocked, notes }
    }

    /// Whether a required part is known to be impossible, so that nothing should be begun.
    pub fn is_hopeless(&self) -> bool {
        let step =
            |(step, verdict): &(Step, Verdict)| step.must == Must::Required && matches!(verdict, Verdict::Blocked(_));
        self.steps.iter().any(step) || self.blocked.iter().any(|item| !item.optional)
    }

    /// What would put everything back: the pins, and the tuning steps in their order.
    pub fn undo(&self) -> Vec<Undo> {
        let pins = self.bpf.changes().then(|| self.bpf.undo());
        pins.into_iter().chain(self.steps.iter().filter_map(|(step, verdict)| act::undo_of(step, verdict))).collect()
    }

    /// Looks again at the knobs whose file system is mounted by now, and whose old values were hidden before. Gives
    /// whether there were any.
    pub fn look_again(&mut self, facts: &Facts) -> bool {
        let mut any = false;
        for (step, verdict) in &mut self.steps {
            if matches!(step.action, Action::Knob { .. }) && matches!(verdict, Verdict::Change { was: None, .. }) {
                *verdict = act::survey(step, facts);
                any = true;
            }
        }
        any
    }
}

/// A knob on a file system that this plan mounts first cannot be judged before that.
fn await_mounts(steps: &mut [(Step, Verdict)], facts: &Facts) {
    let coming: Vec<FsKind> = steps
        .iter()
        .filter_map(|(step, verdict)| match (&step.action, verdict) {
            (Action::Mount(wish), Verdict::Change { .. }) => Some(wish.fs),
            _ => None,
        })
        .collect();
    for (step, verdict) in steps {
        let Action::Knob { path, value } = &step.action else { continue };
        let hidden = matches!(verdict, Verdict::Blocked(_) | Verdict::Skip { .. });
        if coming.contains(&path.fs) && hidden && !knob::is_closed(path.fs, facts) {
            *verdict = Verdict::Change { was: None, now: value.clone() };
        }
    }
}

/// Pins of a bpffs that only this mount namespace has are gone with it; that must be said before they are made.
fn vanishing(config: &Config, facts: &Facts) -> Option<String> {
    if facts.initial_mntns == Some(true) || config.objects.is_empty() {
        return None;
    }
    let root = config.bpf.root.parent()?;
    (mount::bpffs_visible_to_init(root) == Some(false)).then(|| {
        format!(
            "{} belongs to this mount namespace alone: pins and attachments end with it (a unit needs PrivateMounts=no, a container a bind mount of the host's)",
            root.display()
        )
    })
}

fn mounts(config: &Config) -> Vec<Step> {
    config
        .mounts
        .iter()
        .map(|wish| Step {
            id: format!("mount {} {}", wish.fs.name(), wish.fs.usual_place()),
            phase: Phase::Mount,
            must: must(wish.optional),
            if_available: wish.if_available,
            why: String::new(),
            origin: wish.origin.clone(),
            action: Action::Mount(wish.clone()),
        })
        .collect()
}

const fn must(optional: bool) -> Must {
    if optional { Must::Optional } else { Must::Required }
}

/// One wish a key, wherever it comes from: profiles first, `[sysctl]` over them, explicit keys over globs.
fn sysctls(config: &Config, facts: &Facts) -> Vec<Step> {
    let mut steps = Steps::default();
    for profile in &config.profiles {
        of_profile(*profile, &mut steps);
    }
    let explicit = |key: &SysctlKey| config.sysctls.iter().any(|wish| wish.key == *key);
    for wish in &config.sysctls {
        let keys = if facts.target().is_some() { vec![wish.key.clone()] } else { sysctl::expand(&wish.key) };
        for key in keys {
            if !wish.key.is_glob() || !explicit(&key) {
                steps.put(of_wish(wish, key));
            }
        }
    }
    let mut steps = steps.list;
    steps.retain(|step| !matches!(&step.action, Action::Sysctl { goal: Goal::Exclude, .. }));
    let mut goals: Vec<(SysctlKey, Goal)> = Vec::new();
    for step in &steps {
        if let Action::Sysctl { key, goal, .. } = &step.action
            && sysctl::partner(key).is_some()
        {
            goals.push((key.clone(), goal.clone()));
        }
    }
    for step in &mut steps {
        if let Action::Sysctl { key, partner, .. } = &mut step.action {
            let other = sysctl::partner(key);
            *partner = goals.iter().find(|(key, _)| Some(key.path()) == other).map(|(_, goal)| goal.clone());
        }
    }
    steps
}

/// Steps by their ids, in the order in which each was named first.
#[derive(Default)]
struct Steps {
    list: Vec<Step>,
    places: Table<String, usize>,
}

impl Steps {
    /// Adds a step, or puts it in the place of the one with its id.
    fn put(&mut self, step: Step) {
        match self.places.get(&step.id).and_then(|at| self.list.get_mut(*at)) {
            Some(old) => *old = step,
            None => {
                self.places.insert(step.id.clone(), self.list.len());
                self.list.push(step);
            }
        }
    }
}

fn of_wish(wish: &SysctlWish, key: SysctlKey) -> Step {
    Step {
        id: format!("sysctl {key}"),
        phase: if wish.seal { Phase::Seal } else { Phase::Tune },
        must: if wish.best_effort { Must::BestEffort } else { must(wish.optional) },
        if_available: wish.if_available,
        why: String::new(),
        origin: wish.origin.clone(),
        action: Action::Sysctl {
            key,
            goal: wish.goal.clone(),
            allow_insecure: wish.allow_insecure,
            irreversible: wish.irreversible,
            partner: None,
        },
    }
}

fn of_profile(profile: Profile, steps: &mut Steps) {
    for entry in profile.keys() {
        let Ok(key) = entry.key.parse::<SysctlKey>() else { continue };
        let between = if entry.guide.is_empty() { "" } else { ". " };
        steps.put(Step {
            id: format!("sysctl {key}"),
            phase: if entry.seal { Phase::Seal } else { Phase::Tune },
            must: entry.must(),
            if_available: true,
            why: format!("{}{between}{}", entry.why, entry.guide),
            origin: format!("profile {}", profile.name()),
            action: Action::Sysctl {
                key,
                goal: entry.goal(),
                allow_insecure: false,
                irreversible: false,
                partner: None,
            },
        });
    }
}

fn knobs(config: &Config) -> Vec<Step> {
    config
        .knobs
        .iter()
        .map(|wish| Step {
            id: format!("knob {}", wish.path),
            phase: Phase::Tune,
            must: must(wish.optional),
            if_available: wish.if_available,
            why: String::new(),
            origin: wish.origin.clone(),
            action: Action::Knob { path: wish.path.clone(), value: wish.value.clone() },
        })
        .collect()
}

fn limits(config: &Config) -> Vec<Step> {
    let step = |kind, name: &str, wish: Option<LimitWish>| {
        wish.map(|wish| Step {
            id: format!("limit {name}"),
            phase: Phase::Tune,
            must: Must::Required,
            if_available: false,
            why: String::new(),
            origin: "[limits]".into(),
            action: Action::Limit { kind, wish },
        })
    };
    [
        step(LimitKind::Memlock, "memlock", config.limits.memlock),
        step(LimitKind::Nofile, "nofile", config.limits.nofile),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Keys that an earlier configuration changed and this one does not mention go back to what they were.
fn forgotten(steps: &[Step], taken: &[Undo], facts: &Facts) -> Vec<Step> {
    let planned = |id: &str| steps.iter().any(|step| step.id == id);
    taken
        .iter()
        .filter(|undo| !planned(&act::undo_id(undo)) && act::still_ours(undo, facts))
        .filter_map(|undo| {
            let action = match undo {
                Undo::Sysctl { key, was, .. } => Action::Sysctl {
                    key: key.clone(),
                    goal: Goal::Set(was.clone()),
                    allow_insecure: true,
                    irreversible: true,
                    partner: None,
                },
                Undo::Knob { path, was, .. } => Action::Knob { path: path.clone(), value: was.clone() },
                Undo::Pins { .. } | Undo::Unmount { .. } => return None,
            };
            Some(Step {
                id: act::undo_id(undo),
                phase: Phase::Tune,
                must: Must::BestEffort,
                if_available: true,
                why: "no longer in the configuration: put back to its value from before bpfboot".into(),
                origin: "an earlier run".into(),
                action,
            })
        })
        .collect()
}
