use super::{people::Look, *};
use crate::error::Cause;

const TERMINAL: Look = Look { color: false, column: Some(32), journal: false, check: false };
const PIPE: Look = Look { color: false, column: None, journal: false, check: false };
const JOURNAL: Look = Look { journal: true, ..PIPE };

fn sysctl(name: &str, must: Must, status: Status, was: Option<&str>, now: Option<&str>) -> Line {
    Line {
        was: was.map(Into::into),
        now: now.map(Into::into),
        ..Line::new(format!("sysctl {name}"), Phase::Tune, must, status)
    }
}

fn broken(id: &str, must: Must) -> Line {
    let fault = Fault::os(Cause::Verifier, "load", libc::EACCES)
        .mend("bpfboot check")
        .detail("0: r0 = 1\n1: exit\n\nR0 !read_ok\nprocessed 2 insns\n");
    Line { fault: Some(fault), took: Duration::from_micros(12_345), ..Line::new(id, Phase::Load, must, Status::Failed) }
}

fn report(health: Health, lines: Vec<Line>) -> Report {
    Report {
        verb: "apply",
        health,
        exit: Some(health.into()),
        lines,
        notes: vec!["a note".into()],
        leftovers: Vec::new(),
        sources: vec!["/etc/bpfboot.d/10-a.toml".into()],
        release: "6.18.44".into(),
        began: "2026-11-26T14:44:44.123Z".into(),
        took: Duration::from_micros(3_210),
    }
}

fn shown(line: &Line, look: Look) -> String {
    let mut out = String::new();
    people::line(&mut out, line, look);
    out
}

fn summed(report: &Report, look: Look, quiet: bool) -> String {
    let mut out = String::new();
    people::summary(&mut out, report, look, quiet, false);
    out
}

#[test]
fn a_step_is_one_line() {
    use Must::{BestEffort, Optional, Required};
    use Status::{Already, Done, Drift, Planned, Skipped, Undone};
    let mut skipped = sysctl("x.y", Required, Skipped, None, None);
    skipped.note = "not in this kernel".into();
    let mut clamped = sysctl("x.y", Required, Done, Some("1"), Some("2"));
    clamped.note = "clamped".into();
    for (line, terminal, pipe) in [
        (
            sysctl("x.y", Required, Already, None, Some("1")),
            "already  sysctl x.y                        1",
            "already sysctl x.y: 1",
        ),
        (sysctl("x.y", Required, Already, None, None), "already  sysctl x.y", "already sysctl x.y"),
        (clamped, "done     sysctl x.y                        1 -> 2 (clamped)", "done sysctl x.y: 1 -> 2 (clamped)"),
        (
            skipped,
            "skipped  sysctl x.y                        not in this kernel",
            "skipped sysctl x.y: not in this kernel",
        ),
        (
            sysctl("x.y", Required, Undone, None, Some("1")),
            "undone   sysctl x.y                        back to 1",
            "undone sysctl x.y: back to 1",
        ),
        (
            sysctl("x.y", Required, Planned, Some("1"), Some("2")),
            "planned  sysctl x.y                        1 -> 2",
            "planned sysctl x.y: 1 -> 2",
        ),
        (
            sysctl("x.y", Required, Drift, Some("1"), Some("2")),
            "drift    sysctl x.y                        is 1, planned 2",
            "drift sysctl x.y: is 1, planned 2",
        ),
        (
            broken("program a/b", Required),
            "FAILED   program a/b                       load: Permission denied (EACCES)  12.3 ms",
            "FAILED program a/b: load: Permission denied (EACCES) [12.3 ms]",
        ),
        (
            broken("program a/b", Optional),
            "failed   program a/b                       load: Permission denied (EACCES), going on without it  12.3 ms",
            "failed program a/b: load: Permission denied (EACCES), going on without it [12.3 ms]",
        ),
        (
            broken("program a/b", BestEffort),
            "ignored  program a/b                       load: Permission denied (EACCES), going on without it  12.3 ms",
            "ignored program a/b: load: Permission denied (EACCES), going on without it [12.3 ms]",
        ),
    ] {
        assert_eq!(shown(&line, TERMINAL), format!("  {terminal}\n"));
        assert_eq!(shown(&line, PIPE), format!("{pipe}\n"));
        assert_eq!(shown(&line, JOURNAL), format!("<{}>{pipe}\n", line.priority()));
    }
}

#[test]
fn color_changes_nothing_but_the_color() {
    let color = Look { color: true, ..TERMINAL };
    for must in [Must::Required, Must::Optional, Must::BestEffort] {
        let line = broken("program a/b", must);
        let text = shown(&line, color);
        assert!(text.contains("\u{1b}["));
        let plain: String = text
            .split('\u{1b}')
            .map(|part| part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, rest)| rest))
            .collect();
        assert_eq!(plain, shown(&line, TERMINAL));
    }
    assert!(summed(&report(Health::Failed, vec![]), color, false).contains("\u{1b}[1;31mfailed\u{1b}[0m in"));
}

#[test]
fn the_summary_says_why_and_what_mends_it() {
    let lines = vec![
        sysctl("a.b", Must::Required, Status::Already, None, Some("1")),
        broken("program a/b", Must::Required),
        broken("sysctl -x", Must::BestEffort),
        sysctl("c.d", Must::Required, Status::Undone, None, Some("0")),
    ];
    let mut report = report(Health::Dirty, lines);
    report.leftovers.push("sysctl e.f: sysctl -w e.f=0".into());
    let text = "bpfboot apply: dirty in 3.2 ms: 1 failed, 1 already, 1 undone, 1 ignored\n  \
        why:  program a/b: load: Permission denied (EACCES) [verifier]\n  \
        log:  1: exit\n  log:  R0 !read_ok\n  log:  processed 2 insns\n  mend: bpfboot check\n  \
        left: sysctl e.f: sysctl -w e.f=0\n";
    assert_eq!(summed(&report, PIPE, true), text);
    assert_eq!(summed(&report, PIPE, false), format!("{text}  note: a note\n"));
    assert!(summed(&report, JOURNAL, false).lines().all(|line| line.starts_with("<3>") || line == "<4>  note: a note"));
    report.lines.clear();
    assert!(summed(&report, PIPE, true).starts_with("bpfboot apply: dirty in 3.2 ms: nothing to do\n"));
}

#[test]
fn drift_is_told_with_its_mend() {
    let mut report = report(Health::Drift, vec![sysctl("a.b", Must::Required, Status::Drift, Some("0"), Some("1"))]);
    report.verb = "check";
    let text = "bpfboot check: drift in 3.2 ms: 1 drift\n  why:  sysctl a.b: is 0, planned 1\n  mend: bpfboot apply\n";
    assert_eq!(summed(&report, PIPE, true), text);
}

#[test]
fn nothing_printed_can_drive_a_terminal() {
    assert_eq!(clean("a\tb\x1b[31m\n\r\0\u{7f}\u{9b}x\u{202e}é"), "a b\\x1b[31m\\n\\x0d\\x00\\x7f\\x9bx\\u{202e}é");
    let evil = "\x1b]0;x\x07\n<0>forged\u{9b}";
    let mut line = broken(evil, Must::Required);
    line.fault = Some(Fault::new(Cause::Object, evil).mend(evil).detail(evil));
    let mut all =
        report(Health::Failed, vec![line.clone(), sysctl(evil, Must::Required, Status::Done, Some(evil), Some(evil))]);
    (all.notes, all.leftovers) = (vec![evil.into()], vec![evil.into()]);
    let text: String =
        all.lines.iter().map(|line| shown(line, PIPE)).chain([summed(&all, JOURNAL, false), document(&all)]).collect();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(text.lines().all(|line| !line.starts_with("<0>")));
}

#[test]
fn durations_are_short() {
    for (us, text) in [
        (0, "0 us"),
        (999, "999 us"),
        (1_000, "1.0 ms"),
        (12_345, "12.3 ms"),
        (999_999, "999.9 ms"),
        (61_250_000, "61.2 s"),
    ] {
        assert_eq!(people::human(Duration::from_micros(us)), text);
    }
}

/// Reads the document with an implementation that is not ours, and writes what it found one field a line.
fn read_back(document: &str, expression: &str) -> String {
    use std::io::Write;
    let script = format!("import json,sys\nd=json.loads(sys.stdin.buffer.read().decode())\nprint({expression})");
    let mut python = std::process::Command::new("python3")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{document}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_document_is_json() {
    let odd: String = (0..0x2100).filter_map(char::from_u32).collect();
    let mut line = broken(&odd, Must::Optional);
    line.facts = vec![("id", "7".into()), ("tag", odd.clone())];
    let mut report =
        report(Health::Degraded, vec![line, sysctl("a.b", Must::Required, Status::Done, None, Some("1\t2"))]);
    report.notes.push(odd);
    let document = document(&report);
    assert!(document.ends_with("}\n"));
    for (expression, expected) in [
        ("d['bpfboot']", env!("CARGO_PKG_VERSION")),
        ("d['verb'], d['health'], d['exit'], d['kernel'], d['took_us']", "apply degraded 3 6.18.44 3210"),
        (
            "d['notes'][1] == ''.join(map(chr, range(0x2100))) == d['steps'][0]['id'] == d['steps'][0]['facts']['tag']",
            "True",
        ),
        (
            "list(d)",
            "['bpfboot', 'verb', 'health', 'exit', 'kernel', 'began', 'took_us', 'sources', 'notes', 'leftovers', 'steps']",
        ),
        (
            "list(d['steps'][0])",
            "['id', 'phase', 'status', 'must', 'was', 'now', 'note', 'at_us', 'took_us', 'fault', 'facts']",
        ),
        (
            "list(d['steps'][0]['fault'].values())[:6]",
            "['verifier', 'verifier', 'load', 13, 'EACCES', 'bpfboot check']",
        ),
        (
            "[d['steps'][1][k] for k in ('phase','status','must','was','now','fault','facts')]",
            "['tune', 'done', 'required', None, '1\\t2', None, {}]",
        ),
    ] {
        assert_eq!(read_back(&document, expression), expected, "{expression}");
    }
    report.lines.clear();
    assert_eq!(read_back(&super::document(&report), "d['steps'], d['leftovers']"), "[] []");
}

#[test]
fn the_kernels_own_errno_has_a_name() {
    let mut line = broken("x", Must::Required);
    line.fault = Some(Fault::os(Cause::Kernel, "x", 524));
    assert!(document(&report(Health::Failed, vec![line])).contains("\"errno\":524,\"errno_name\":\"ENOTSUPP\""));
}

#[test]
fn lines_come_from_steps() {
    let step = Step {
        id: "sysctl a.b".into(),
        phase: Phase::Tune,
        must: Must::Optional,
        if_available: false,
        action: crate::step::Action::Sysctl {
            key: "a.b".parse().unwrap(),
            goal: crate::config::Goal::Set("1".into()),
            allow_insecure: false,
            irreversible: false,
            partner: None,
        },
        why: "because".into(),
        origin: String::new(),
    };
    let change = || Verdict::Change { was: Some("0".into()), now: "1".into() };
    let planned = Line::of_verdict(&step, change(), Status::Planned);
    assert_eq!(shown(&planned, PIPE), "planned sysctl a.b: 0 -> 1 (because)\n");
    assert_eq!(shown(&Line::of_verdict(&step, change(), Status::Drift), PIPE), "drift sysctl a.b: is 0, planned 1\n");
    let checking = Look { check: true, ..PIPE };
    for (verdict, must, status, expected) in [
        (change(), Must::Required, Status::Drift, "FAIL sysctl a.b: is 0, planned 1\n"),
        (change(), Must::Optional, Status::Drift, "WARN sysctl a.b: is 0, planned 1\n"),
        (change(), Must::Required, Status::Warn, "WARN sysctl a.b: 0 -> 1\n"),
        (change(), Must::Required, Status::Already, "OK sysctl a.b: 0 -> 1\n"),
    ] {
        let line = Line { must, ..Line::of_verdict(&step, verdict, status) };
        assert_eq!(shown(&line, checking), expected);
    }
    let failed = Line::of_outcome(&step, Outcome::Failed(Fault::new(Cause::Sysctl, "no")), Duration::ZERO);
    assert!(failed.hurts() && failed.priority() == 4);
    assert_eq!(shown(&failed, PIPE), "failed sysctl a.b: no, going on without it\n");
}
