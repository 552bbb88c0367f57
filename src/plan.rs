//! The whole plan, as data: the configuration held against the kernel. Looks, and writes nothing.
//!
//! `apply` walks it, `apply --dry-run` prints it, `check` compares it.

use std::collections::BTreeMap;

use crate::{
    act,
    bpf::{Blocked, BpfPlan},
    config::{Config, FsKind, Goal, LimitKind, LimitWish, SysctlKey, SysctlWish},
    facts::Facts,
    step::{Action, Must, Phase, Step, Undo, Verdict},
    tune::{mount, sysctl},
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
        let mut steps = mounts(config);
        steps.extend(sysctls(config));
        steps.extend(knobs(config));
        steps.extend(limits(config));
        steps.extend(forgotten(&steps, taken, facts));
        // Stable: within a phase the order of the configuration stays.
        steps.sort_by_key(|step| step.phase);
        let mut steps: Vec<_> = steps
            .into_iter()
            .map(|step| {
                let verdict = act::survey(&step, facts);
                (step, verdict)
            })
            .collect();
        await_mounts(&mut steps);
        let bpf = BpfPlan::new(config, allow_untrusted);
        let blocked = bpf.blocked(facts);
        let mut notes = config.notes.clone();
        notes.extend(vanishing(config, facts));
        Self { steps, bpf, blocked, notes }
    }

    /// Whether a required part is known to be impossible, so that nothing should be begun.
    pub fn is_hopeless(&self) -> bool {
        let step = |(step, verdict): &(Step, Verdict)| step.must == Must::Required && matches!(verdict, Verdict::Blocked(_));
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
fn await_mounts(steps: &mut [(Step, Verdict)]) {
    let coming: Vec<FsKind> = steps
        .iter()
        .filter_map(|(step, verdict)| match (&step.action, verdict) {
            (Action::Mount(wish), Verdict::Change { .. }) => Some(wish.fs),
            _ => None,
        })
        .collect();
    for (step, verdict) in steps {
        let Action::Knob { path, value } = &step.action else { continue };
        if coming.contains(&path.fs) && matches!(verdict, Verdict::Blocked(_) | Verdict::Skip { .. }) {
            *verdict = Verdict::Change { was: None, now: value.clone() };
        }
    }
}

/// Pins of a bpffs that only this mount namespace has are gone with it; that must be said before they are made.
fn vanishing(config: &Config, facts: &Facts) -> Option<String> {
    if facts.initial_mntns != Some(false) || config.objects.is_empty() {
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
fn sysctls(config: &Config) -> Vec<Step> {
    let mut order: Vec<SysctlKey> = Vec::new();
    let mut steps: BTreeMap<SysctlKey, Step> = BTreeMap::new();
    let mut put = |key: SysctlKey, step: Step| {
        if steps.insert(key.clone(), step).is_none() {
            order.push(key);
        }
    };
    for (key, step) in profiles(config) {
        put(key, step);
    }
    let explicit = |key: &SysctlKey| config.sysctls.iter().any(|wish| wish.key == *key);
    for wish in &config.sysctls {
        for key in sysctl::expand(&wish.key) {
            if !wish.key.is_glob() || !explicit(&key) {
                put(key.clone(), of_wish(wish, key));
            }
        }
    }
    let mut out: Vec<Step> = order.iter().filter_map(|key| steps.remove(key)).filter(|step| !excluded(step)).collect();
    let goals: Vec<(String, Goal)> = out.iter().filter_map(goal_of).collect();
    for step in &mut out {
        if let Action::Sysctl { key, partner, .. } = &mut step.action {
            let other = sysctl::partner(key);
            *partner = goals.iter().find(|(path, _)| Some(path.as_str()) == other).map(|(_, goal)| goal.clone());
        }
    }
    out
}

fn excluded(step: &Step) -> bool {
    matches!(&step.action, Action::Sysctl { goal: Goal::Exclude, .. })
}

fn goal_of(step: &Step) -> Option<(String, Goal)> {
    match &step.action {
        Action::Sysctl { key, goal, .. } => Some((key.path().to_owned(), goal.clone())),
        _ => None,
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

fn profiles(config: &Config) -> impl Iterator<Item = (SysctlKey, Step)> {
    config.profiles.iter().flat_map(|profile| {
        profile.keys().iter().filter_map(|entry| {
            let key: SysctlKey = entry.key.parse().ok()?;
            let step = Step {
                id: format!("sysctl {key}"),
                phase: if entry.seal { Phase::Seal } else { Phase::Tune },
                must: entry.must,
                if_available: entry.if_available,
                why: [entry.why, entry.guide].iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(". "),
                origin: format!("profile {}", profile.name()),
                action: Action::Sysctl {
                    key: key.clone(),
                    goal: entry.goal.goal(),
                    allow_insecure: false,
                    irreversible: false,
                    partner: None,
                },
            };
            Some((key, step))
        })
    })
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
    [step(LimitKind::Memlock, "memlock", config.limits.memlock), step(LimitKind::Nofile, "nofile", config.limits.nofile)]
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
