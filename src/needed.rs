//! Least privilege, computed: which capabilities a configuration takes on this kernel, each with its reason.
//!
//! From the plan that `apply` would walk, as if nothing of it were loaded yet: there is no second list.

use crate::{
    account::Account,
    act,
    bpf::{self, BpfPlan, How, Kind},
    config::Config,
    facts::Facts,
    plan::Plan,
    privilege::{self, Needs},
    step::{Action, Must},
};

/// One capability, and what for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    /// Its bit.
    pub bit: u64,
    /// What for.
    pub why: String,
    /// Whether the run does without it, degraded.
    pub optional: bool,
}

/// What a configuration takes.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// To tune and to load.
    pub loading: Vec<Need>,
    /// To become the command of `run`.
    pub becoming: Vec<Need>,
    /// What the command keeps.
    pub kept: Vec<Need>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

impl Needed {
    /// Looks at the kernel; writes nothing. Steps that are `given` are somebody else's.
    pub fn new(config: &Config, facts: &Facts, allow_untrusted: bool, given: fn(&Action) -> bool) -> Self {
        let mut plan = Plan::new(config, facts, &[], allow_untrusted);
        for object in &mut plan.bpf.objects {
            object.found.how = How::Load(String::new());
        }
        let mut without = facts.clone();
        without.capabilities = 0;
        let mut needed = Self::default();
        needed.of_objects(&plan.bpf, facts);
        for (step, verdict) in plan.steps.iter().filter(|(step, _)| !given(&step.action)) {
            if let Some((bit, deed)) = act::needs(step, verdict, &without) {
                let why = format!("{}: {deed}", step.id);
                needed.loading.push(Need { bit, why, optional: step.must != Must::Required });
            }
        }
        needed.of_run(config);
        needed
    }

    fn of_objects(&mut self, plan: &BpfPlan, facts: &Facts) {
        let needs = plan.needs(facts);
        let paranoid = bpf::perf_event_paranoid();
        let (mut all, mut probes, mut nets, mut users) = (String::new(), String::new(), String::new(), String::new());
        for object in &plan.objects {
            add(&mut all, object.job.name.as_str());
            for program in &object.job.programs {
                let name = format!("{}/{}", object.job.name, program.name);
                if program.kind.uses_perf_link() {
                    add(&mut probes, &name);
                }
                if program.kind.needs_net_admin() {
                    add(&mut nets, &name);
                }
                if matches!(program.kind, Kind::Uprobe | Kind::Uretprobe) {
                    add(&mut users, &name);
                }
            }
            if object.job.net_maps() {
                add(&mut nets, &format!("maps of {}", object.job.name));
            }
        }
        let optional = plan.objects.iter().all(|object| object.job.optional);
        let mut need = |wanted: bool, one: Needs, why: String| {
            if wanted {
                self.loading.push(Need { bit: one.bits(), why, optional });
            }
        };
        let (before_5_8, none) = (needs.before_5_8, Needs::default());
        let one = |bpf, perfmon| Needs { bpf, perfmon, before_5_8, ..none };
        need(needs.bpf, one(true, false), format!("to load objects: {all}"));
        need(
            needs.perfmon,
            one(false, true),
            "to load programs: without it the verifier also walks what the CPU only speculates, and refuses tracing"
                .into(),
        );
        need(needs.net_admin, Needs { net_admin: true, ..none }, format!("networking: {nets}"));
        let admin = Needs { sys_admin: true, ..none };
        if !users.is_empty() {
            need(needs.sys_admin, admin, format!("user probes, for which perf asks for it: {users}"));
        } else {
            let why = format!(
                "CAP_PERFMON is not enough to attach {probes}: kernel.perf_event_paranoid = {paranoid}, \
                 and kernels that know a value above 2 ask for this one"
            );
            need(needs.sys_admin, admin, why);
        }
        if needs.perfmon && !needs.sys_admin && !before_5_8 {
            self.notes.push(format!(
                "CAP_PERFMON is enough for tracing here: kernel.perf_event_paranoid = {paranoid}; above 2 it were not"
            ));
        }
    }

    fn of_run(&mut self, config: &Config) {
        let mut need = |bit: u64, why: &str| self.becoming.push(Need { bit, why: why.into(), optional: false });
        let account = Account::find(&config.run);
        if account.as_ref().map_or(true, |account| account.uid != 0) {
            need(privilege::SETUID, "to become the user of [run]");
        }
        if account.as_ref().map_or(true, |one| one.gid != 0 || one.groups.as_ref().is_some_and(|all| !all.is_empty())) {
            need(privilege::SETGID, "to enter the groups of [run]");
        }
        need(privilege::SETPCAP, "to empty the bounding set and lock the securebits");
        self.notes.extend(account.err().map(|fault| format!("on this machine {fault}")));
        for bit in privilege::bits_of(config.run.keep) {
            self.kept.push(Need { bit, why: "the command keeps it: [run] keep-caps".into(), optional: false });
        }
    }

    /// The capabilities alone, each once: those to start with.
    pub fn names(&self, with_run: bool) -> Vec<String> {
        let run = self.becoming.iter().chain(&self.kept).filter(|_| with_run);
        let set = self.loading.iter().chain(run).fold(0, |set, need| set | need.bit);
        privilege::bits_of(set).map(privilege::name).collect()
    }
}

fn add(list: &mut String, one: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push_str(one);
}
