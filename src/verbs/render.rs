//! `render`: the same plan as a file for somebody else: a unit, a container, a pod, or plain settings. Writes nothing.
//!
//! A template's line that begins with `?WORD ` stands only where that word holds; a line with `@why@` stands once for
//! each capability, one with `@knob@` for each knob.

use std::{ffi::OsString, fmt::Write};

use crate::{
    bpf::Kind,
    cli::{Format, Options},
    config::{Config, FsKind, Goal, LimitWish},
    facts::Facts,
    health::Health,
    needed::Needed,
    plan::Plan,
    privilege,
    report::{quoted, say},
    step::{Action, Must, Phase, Step, Verdict},
    tune::sysctl,
};

const KUBERNETES: &str = include_str!("../render/kubernetes");
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: agent}\n";
const DAEMON_SET: &str = "---\n# The same on every node.\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\n\
    spec:\n  selector: {matchLabels: {app: agent}}\n  template:\n    metadata: {labels: {app: agent}}\n";

/// What templates ask for.
struct Values {
    holds: Vec<&'static str>,
    words: Vec<(&'static str, String)>,
    lists: [(&'static str, Vec<String>); 2],
}

/// Prints the configuration in another form.
pub fn render(config: &Config, options: &Options, format: Format, command: &[OsString]) -> Health {
    let facts = Facts::gather();
    let plan = Plan::new(config, &facts, &[], options.allow_untrusted);
    // Mounts are the template's, and neither a container nor such a unit writes to /proc/sys.
    let given: fn(&Action) -> bool = |action| matches!(action, Action::Mount(_) | Action::Sysctl { .. });
    let values = || {
        let needed = Needed::new(config, &facts, options.allow_untrusted, given);
        Values::new(config, &facts, &needed, &plan, command)
    };
    say(&match format {
        Format::Systemd => values().fill(include_str!("../render/systemd")),
        Format::Docker => values().fill(include_str!("../render/docker")),
        Format::Compose => values().fill(include_str!("../render/compose")),
        Format::Oci => values().fill(include_str!("../render/oci")),
        Format::Kubernetes => {
            let values = values();
            let (head, spec) = (values.fill("# bpfboot render kubernetes\n# @why@\n"), values.fill(KUBERNETES));
            let mut text = head + POD + &spec + DAEMON_SET;
            spec.lines().for_each(|line| text += &format!("    {line}\n"));
            text
        }
        Format::Sysctl => sysctls(&plan),
        Format::Limits => limits(config, &facts),
    });
    Health::Healthy
}

impl Values {
    fn new(config: &Config, facts: &Facts, needed: &Needed, plan: &Plan, command: &[OsString]) -> Self {
        let (all, apply) = (needed.names(true), needed.names(false));
        let command: Vec<String> = match command {
            [] => vec!["/usr/bin/agent".into()],
            words => words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        };
        let list = |texts: &[String], form: fn(&str) -> String, between: &str| -> String {
            let mut out = String::new();
            for text in texts {
                out += if out.is_empty() { "" } else { between };
                out += &form(text);
            }
            out
        };
        let short: fn(&str) -> String = |name| quoted(name.trim_start_matches("CAP_"));
        let needs = needed.loading.iter().chain(&needed.becoming).chain(&needed.kept);
        let whys: Vec<String> = needs.map(|need| format!("{}: {}", privilege::name(need.bit), need.why)).collect();
        let nofile = match config.limits.nofile {
            Some(LimitWish::AtLeast(least)) => least.to_string(),
            _ => String::new(),
        };
        let programs = || plan.bpf.objects.iter().flat_map(|object| &object.job.programs);
        let uses = |fs: FsKind| {
            let action = |(step, _): &(Step, Verdict)| match &step.action {
                Action::Mount(wish) => wish.fs == fs,
                Action::Knob { path, .. } => path.fs == fs,
                _ => false,
            };
            plan.steps.iter().any(action)
        };
        let trace = uses(FsKind::Trace)
            || programs().any(|program| matches!(program.kind, Kind::Tracepoint | Kind::Kprobe | Kind::Kretprobe));
        let traces = programs().any(|program| program.kind.uses_perf_link());
        let tunes = plan.steps.iter().any(|(step, _)| matches!(step.action, Action::Sysctl { .. }));
        // A network namespace has its own values of these; others it has not at all, or they are the machine's.
        let own = |action: &Action| matches!(action, Action::Sysctl { key, .. } if sysctl::of_netns(key));
        let nets = plan.steps.iter().any(|(step, _)| own(&step.action));
        let knob = |(step, _): &(Step, Verdict)| match &step.action {
            Action::Knob { path, .. } => Some(of_unit(&format!("{}/{}", path.fs.usual_place(), path.below))),
            _ => None,
        };
        let knobs: Vec<String> = plan.steps.iter().filter_map(knob).collect();
        let hosts = plan.bpf.objects.iter().any(|object| !object.job.xdp.is_empty());
        let memlock = facts.charges_memlock();
        let debug = uses(FsKind::Debug);
        let holds = [
            ("trace", trace),
            ("debug", debug),
            ("hostnet", hosts),
            ("ownnet", !hosts),
            ("tunes", tunes),
            ("alone", !(hosts || nets)),
            ("perf", traces),
            ("pins", !config.objects.is_empty()),
            ("knobs", !knobs.is_empty()),
            ("nofile", !nofile.is_empty()),
            ("memlock", memlock),
            ("ulimits", memlock || !nofile.is_empty()),
        ];
        let words = vec![
            ("@first@", command.first().cloned().unwrap_or_default()),
            ("@unit@", list(&command, of_unit, " ")),
            ("@shell@", list(&command, of_shell, " ")),
            ("@args@", list(&command, quoted, ", ")),
            ("@names@", all.join(" ")),
            ("@caps@", list(&all, quoted, ", ")),
            ("@short@", list(&all, short, ", ")),
            ("@apply@", list(&apply, short, ", ")),
            ("@docker@", list(&all, |name| format!("--cap-add {}", name.trim_start_matches("CAP_")), " ")),
            ("@whys@", quoted(&whys.join("; "))),
            ("@nofile@", nofile),
            ("@root@", of_unit(&config.bpf.root.to_string_lossy())),
            ("@@", "@".into()),
        ];
        let holds = holds.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word).collect();
        Self { holds, words, lists: [("@why@", whys), ("@knob@", knobs)] }
    }

    fn fill(&self, template: &str) -> String {
        let mut out = String::new();
        for line in template.lines() {
            let line = match line.strip_prefix('?').and_then(|line| line.split_once(' ')) {
                Some((word, line)) if self.holds.contains(&word) => line,
                Some(_) => continue,
                None => line,
            };
            if let Some((word, list)) = self.lists.iter().find(|(word, _)| line.contains(word)) {
                list.iter().for_each(|one| out += &format!("{}\n", line.replace(word, one)));
                continue;
            }
            let mut line = line.to_owned();
            for (word, value) in self.words.iter().filter(|(word, _)| line.contains(word)).collect::<Vec<_>>() {
                line = line.replace(word, value);
            }
            out += &line;
            out.push('\n');
        }
        out
    }
}

/// Whether a word is itself to everybody who reads command lines.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte))
}

/// As systemd.service(5) reads it: C's escapes, and % and $ twice.
fn of_unit(word: &str) -> String {
    let word = if is_plain(word) { word.to_owned() } else { quoted(word) };
    word.replace('%', "%%").replace('$', "$$")
}

fn of_shell(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// The settings as sysctl.d(5) has them, with the reason over each line.
fn sysctls(plan: &Plan) -> String {
    let mut out = String::from("# bpfboot render sysctl.d. Of a bound, the better value that is there now.\n");
    for (step, verdict) in &plan.steps {
        let Action::Sysctl { key, goal, .. } = &step.action else { continue };
        let value = match (verdict, goal) {
            (Verdict::Already { is }, _) => is.clone(),
            (Verdict::Change { now, .. }, _) => now.clone(),
            (_, Goal::Set(text)) => text.clone(),
            (_, Goal::AtLeast(fields) | Goal::AtMost(fields)) => {
                fields.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
            }
            (_, Goal::Exclude) => continue,
        };
        let why = if step.why.is_empty() { &step.origin } else { &step.why };
        let seal = if step.phase == Phase::Seal { "; bpfboot sets it after its own load" } else { "" };
        // With a dash, what is not there is no failure.
        let dash = if step.if_available || step.must != Must::Required { "-" } else { "" };
        let _ = writeln!(out, "\n# {why}{seal}\n{dash}{key} = {value}");
    }
    out
}

/// The limits as limits.conf(5) has them.
fn limits(config: &Config, facts: &Facts) -> String {
    let mut out =
        String::from("# bpfboot render limits, for /etc/security/limits.d: of logins, and not of services.\n");
    let mut row = |why: &str, item: &str, value: String| {
        for who in ["*", "root"] {
            let _ = writeln!(out, "# {why}\n{who} - {item} {value}");
        }
    };
    match config.limits.memlock {
        Some(LimitWish::Auto) if facts.charges_memlock() => {
            row("this kernel charges BPF to it", "memlock", "unlimited".into());
        }
        Some(LimitWish::Unlimited) => row("limits.memlock", "memlock", "unlimited".into()),
        Some(LimitWish::AtLeast(bytes)) => row("limits.memlock, in KiB", "memlock", bytes.div_ceil(1024).to_string()),
        _ => {}
    }
    match config.limits.nofile {
        Some(LimitWish::Unlimited) => row("limits.nofile", "nofile", "1048576".into()),
        Some(LimitWish::AtLeast(least)) => row("limits.nofile", "nofile", least.to_string()),
        _ => {}
    }
    out
}
