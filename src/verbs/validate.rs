//! What `check` says of the kernel besides the plan: its version, what it was built with, the limits of this process, and
//! who else sets the plan's keys. None of it is drift.

use crate::{
    bpf::{Kind, probe},
    config::{LimitKind, LimitWish},
    facts::Facts,
    kernel_config,
    plan::Plan,
    report::{Line, Status},
    step::{Action, Must, Phase, Step},
    sys::limit,
    tune::{
        limit as tune_limit, mount,
        sysctl::{Others, described, satisfied},
    },
};

/// An option, what needs it, and why, one a line.
const OPTIONS: &str = include_str!("../options.txt");

fn line(id: impl Into<String>, warns: bool, now: String, note: String) -> Line {
    let status = if warns { Status::Warn } else { Status::Already };
    Line { now: Some(now), note, ..Line::new(id, Phase::Settle, Must::Optional, status) }
}

/// The lines about the kernel and the limits.
pub fn machine(plan: &Plan, facts: &Facts) -> Vec<Line> {
    let mut lines = vec![version(facts)];
    lines.extend(options(plan, facts));
    for (kind, name) in [(LimitKind::Memlock, "memlock"), (LimitKind::Nofile, "nofile")] {
        let id = format!("limit {name}");
        if !plan.steps.iter().any(|(step, _)| step.id == id) {
            lines.extend(limit_line(id, kind, facts));
        }
    }
    lines
}

fn version(facts: &Facts) -> Line {
    let lacks = [
        (facts.needs_sys_admin_for_bpf(), "before 5.8 loading takes CAP_SYS_ADMIN, and there are no ring buffers"),
        (!facts.xdp_links(), "before 5.9 XDP has no links"),
        (!facts.perf_links(), "before 5.15 what attaches by perf events cannot be pinned"),
    ];
    let lacks: Vec<_> = lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| *what).collect();
    line("kernel", !lacks.is_empty(), facts.release.clone(), lacks.join("; "))
}

/// One line if all is there, else one for each that is missing.
fn options(plan: &Plan, facts: &Facts) -> Vec<Line> {
    let id = "kernel options";
    let Some((path, config)) = kernel_config::read(&facts.release) else {
        let note = "this kernel tells nowhere what it was built with".to_owned();
        return vec![Line { note, ..Line::new(id, Phase::Settle, Must::Optional, Status::Skipped) }];
    };
    let (mut wanted, mut missing) = (0, Vec::new());
    for option in OPTIONS.lines() {
        let mut words = option.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (name, who, why) = (format!("CONFIG_{}", next()), next(), next());
        let Some(program) = needed_by(plan, who) else { continue };
        wanted += 1;
        if kernel_config::value(&config, &name).is_none() {
            let who = if program.is_empty() { String::new() } else { format!("program {program}: ") };
            missing.push(line(format!("kernel option {name}"), true, "not set".into(), format!("{who}{why}")));
        }
    }
    let all = format!("{} of {wanted} set that this configuration takes", wanted - missing.len());
    missing.insert(0, line(id, false, all, path));
    missing
}

/// The first program that takes an option, `""` where everything does.
fn needed_by(plan: &Plan, who: &str) -> Option<String> {
    use Kind as K;
    if who == "any" {
        return Some(String::new());
    }
    plan.bpf.objects.iter().find_map(|object| {
        let mut programs = object.wanted();
        let program = programs.find(|program| match (who, program.kind) {
            ("trace", K::RawTracepoint) => true,
            ("trace" | "perf", kind) if kind.uses_perf_link() => true,
            ("tracepoint", K::Tracepoint | K::RawTracepoint | K::TpBtf) => true,
            ("syscall", K::Tracepoint) => program.load_target.starts_with("syscalls:"),
            ("kprobe", K::Kprobe | K::Kretprobe) | ("uprobe", K::Uprobe | K::Uretprobe) | ("lsm", K::Lsm) => true,
            ("btf", kind) => kind.needs_kernel_btf(),
            ("trampoline", K::Fentry | K::Fexit) => true,
            ("net", kind) => kind.needs_net_admin(),
            _ => false,
        })?;
        Some(format!("{}/{}", object.job.name, program.name))
    })
}

fn limit_line(id: String, kind: LimitKind, facts: &Facts) -> Option<Line> {
    let (soft, hard) = limit::get(kind).ok()?;
    let shown = |limit: u64| if limit == limit::UNLIMITED { "unlimited".to_owned() } else { limit.to_string() };
    let now = if soft == hard { shown(soft) } else { format!("{}, at most {}", shown(soft), shown(hard)) };
    let (warns, note) = match kind {
        LimitKind::Memlock if facts.charges_memlock() && soft != limit::UNLIMITED => {
            (true, "before Linux 5.11 maps and programs count here: [limits] memlock = \"unlimited\"")
        }
        LimitKind::Memlock => (false, "maps and programs do not count here since Linux 5.11"),
        LimitKind::Nofile => (false, ""),
    };
    Some(line(id, warns, now, note.to_owned()))
}

/// Adds to a key's line what is wanted of it, and who else sets it: a warning where that is another value, as where a
/// file system that others mounted has another mode than asked for.
pub fn of_step(mut line: Line, step: &Step, others: &Others) -> Line {
    let (key, goal) = match &step.action {
        Action::Sysctl { key, goal, .. } => (key, goal),
        Action::Mount(wish) if line.status == Status::Already && mount::changed(wish).is_some() => {
            line.status = Status::Warn;
            return line;
        }
        _ => return line,
    };
    line.facts.push(("wanted", described(goal)));
    if let Some(other) = others.who(key) {
        let said = format!("{} sets {}", other.file.display(), other.value);
        line.facts.push(("elsewhere", said.clone()));
        if !satisfied(key.path(), goal, &other.value) {
            let between = if line.note.is_empty() { "" } else { "; " };
            line.note = format!("{}{between}{said}", line.note);
            if line.status == Status::Already {
                line.status = Status::Warn;
            }
        }
    }
    line
}

/// The line of a live probe.
pub fn probed(facts: &Facts) -> Line {
    // As a run that loads would have it; it ends with this process.
    let _ = tune_limit::apply(LimitKind::Memlock, LimitWish::Auto, facts);
    let new = |status| Line::new("probe", Phase::Drop, Must::Required, status);
    match probe() {
        Ok(now) => Line { now: Some(now), ..new(Status::Already) },
        Err(fault) => Line { fault: Some(fault), ..new(Status::Failed) },
    }
}
