//! Of alternatives the first is used that this kernel can take, and the report says which and why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;

use common::{LIVE, Report, Sandbox, compile, object, sandbox};

/// The object that sees each getpgid(2) of this process, with these keys. This machine has neither kprobes nor
/// trampolines: `by_fentry` and `by_kprobe` fail here.
fn ways(keys: &str) -> String {
    let (path, pid) = (object("ways"), std::process::id());
    format!("[mounts]\ntracefs = true\n[object.ways]\npath = \"{path}\"\nglobals.pid = {pid}\n{keys}\n")
}

/// How many of five calls each way has seen.
fn seen(s: &Sandbox) -> Vec<u64> {
    for _ in 0..5 {
        nix::unistd::getpgid(Some(nix::unistd::getpid())).unwrap();
    }
    let hits = s.dump(&format!("{LIVE}/ways/maps/hits"));
    hits.into_values().map(|value| u64::from_ne_bytes(value[0].as_slice().try_into().unwrap())).collect()
}

/// The pins on a shelf of an object.
fn shelf(object: &str, shelf: &str) -> Vec<String> {
    let names = fs::read_dir(format!("{LIVE}/{object}/{shelf}")).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn note<'r>(report: &'r Report, id: &str) -> &'r str {
    report.step(id)["note"].as_str().unwrap_or_default()
}

/// Asserts that a program was passed over, and gives why.
fn passed_over(report: &Report, id: &str, next: &str) -> String {
    assert_eq!(report.status(id), "skipped", "{:#}", report.json);
    let why = note(report, id).strip_prefix("not here: ").unwrap();
    why.strip_suffix(&format!("; instead: {next}")).unwrap().to_owned()
}

const FENTRY: &str = "program ways/by_fentry";
const KPROBE: &str = "program ways/by_kprobe";
const TRACEPOINT: &str = "program ways/by_tracepoint";
const RAW: &str = "program ways/by_raw";

#[test]
fn the_first_that_works_is_used_and_no_other() {
    sandbox(|s| {
        let config =
            ways("alternatives = [[\"by_tracepoint\", \"by_fentry\", \"by_raw\"]]\nprograms = { by_tracepoint = {} }");
        let report = s.apply(&config).exits(0);
        assert_eq!((report.status(TRACEPOINT), note(&report, TRACEPOINT)), ("done", ""));
        assert!(!report.json.to_string().contains("by_raw"), "{:#}", report.json);
        assert_eq!(
            (shelf("ways", "progs"), shelf("ways", "links")),
            (vec!["by_tracepoint".into()], vec!["by_tracepoint".into()])
        );
        assert_eq!(seen(s), [0, 0, 5, 0]);
        s.apply(&config).exits(0).nothing_done();
        s.check(&config).exits(0);
        s.json(&["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn what_cannot_be_loaded_or_attached_gives_way_and_the_next_runs_see_it_settled() {
    sandbox(|s| {
        let config = ways("alternatives = [[\"by_fentry\", \"by_kprobe\", \"by_raw\"]]\nprograms.by_tracepoint = {}");
        let report = s.apply(&config).exits(0);
        passed_over(&report, FENTRY, "by_kprobe");
        let why = passed_over(&report, KPROBE, "by_raw");
        assert_eq!(
            why,
            "this kernel cannot probe __x64_sys_getpgid: it is built without CONFIG_KPROBES: \
             No such file or directory (ENOENT)"
        );
        assert_eq!((report.status(RAW), note(&report, RAW)), ("done", format!("instead of by_kprobe: {why}").as_str()));
        let link = s.pinned("link", &format!("{LIVE}/ways/links/by_raw"));
        assert_eq!(link["prog_id"].as_u64(), Some(report.kernel_id(RAW)));
        assert_eq!(shelf("ways", "progs"), ["by_raw", "by_tracepoint"]);
        assert_eq!(shelf("ways", "links"), ["by_raw", "by_tracepoint"]);
        assert_eq!(seen(s), [0, 0, 5, 5]);
        // Nothing is tried anew, and what was found out is still told.
        let traced = s.strace(&["-e", "trace=bpf"], &["-q", "-c", "/run/test.toml", "apply"]);
        assert!(!traced.calls.iter().any(|call| call.line.contains("BPF_PROG_LOAD")), "{:#?}", traced.calls);
        traced.ran.exits(0);
        for report in [s.apply(&config).exits(0).nothing_done(), s.check(&config).exits(0)] {
            assert_eq!(note(&report, RAW), format!("instead of by_kprobe: {why}"));
            assert_eq!((report.status(RAW), passed_over(&report, KPROBE, "by_raw")), ("already", why.clone()));
        }
        // Another order is another choice, with the old one whole until it is there.
        let report = s.apply(&config.replace("\"by_kprobe\", ", "")).exits(0);
        passed_over(&report, FENTRY, "by_raw");
        assert!(report.steps().iter().all(|step| step["id"] != KPROBE));
        // Without a list, everything.
        s.apply(&ways("")).exits(1);
        assert_eq!(shelf("ways", "progs"), ["by_raw", "by_tracepoint"]);
        s.json(&["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn one_program_may_be_the_last_resort_of_several() {
    sandbox(|s| {
        let keys =
            "alternatives = [[\"by_fentry\", \"by_raw\"], [\"by_kprobe\", \"by_raw\"]]\nprograms.by_tracepoint = {}";
        let report = s.apply(&ways(keys)).exits(0);
        passed_over(&report, FENTRY, "by_raw");
        passed_over(&report, KPROBE, "by_raw");
        assert_eq!(report.steps().iter().filter(|step| step["id"] == RAW).count(), 1);
        assert_eq!(
            (shelf("ways", "progs"), seen(s)),
            (vec!["by_raw".into(), "by_tracepoint".into()], vec![0, 0, 5, 5])
        );
        s.apply(&ways(keys)).exits(0).nothing_done();
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn a_list_of_which_all_fail_fails_as_its_last_does() {
    sandbox(|s| {
        let list = "alternatives = [[\"by_fentry\", \"by_kprobe\"]]\n";
        let keys = format!("{list}programs.by_raw = {{}}");
        let report = s.apply(&ways(&keys)).exits(1);
        passed_over(&report, FENTRY, "by_kprobe");
        let (cause, text) = report.fault("object ways");
        assert!(cause == "attach" && text.contains("program by_kprobe: this kernel cannot probe"), "{cause}: {text}");
        assert!(text.contains("[ENOENT]") && text.contains("optional = true"), "{text}");
        assert_eq!(s.pins(), [""; 0]);
        // With some of them optional it is required still, with all it is not.
        let keys = format!("{keys}\nprograms.by_kprobe = {{ optional = true }}");
        s.apply(&ways(&keys)).exits(1);
        assert_eq!(s.pins(), [""; 0]);
        let keys = format!("{keys}\nprograms.by_fentry = {{ optional = true }}");
        let report = s.apply(&ways(&keys)).exits(3);
        assert_eq!((report.fault("link ways/by_kprobe").0, report.status(RAW)), ("attach", "done"));
        assert_eq!((shelf("ways", "links"), seen(s)), (vec!["by_raw".into()], vec![0, 0, 0, 5]));
        s.check(&ways(&keys)).exits(3);
        // As is the object.
        let report = s.apply(&ways(&format!("{list}optional = true\nprograms.by_raw = {{}}"))).exits(3);
        assert_eq!(report.fault("object ways").0, "attach");
        s.json(&["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
    });
}

/// Two handlers: the verifier refuses the first. The entry calls what is behind index 0, and gives 7 when nothing is.
const HANDLERS: &str = "
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __uint(value_size, 4); }
jumps SEC(\".maps\");
SEC(\"xdp\") int wild(struct xdp_md *ctx) { return *(volatile __u32 *)(long)ctx->data; }
SEC(\"xdp\") int tame(struct xdp_md *ctx) { return 5; }
SEC(\"xdp\") int tamer(struct xdp_md *ctx) { return 6; }
SEC(\"xdp\") int entry(struct xdp_md *ctx) { bpf_tail_call(ctx, &jumps, 0); return 7; }
";

#[test]
fn what_the_verifier_refuses_gives_way_also_behind_a_program_array() {
    sandbox(|s| {
        compile(s, "/run/handlers.o", HANDLERS);
        let config = |keys: &str| format!("[object.h]\npath = \"/run/handlers.o\"\n{keys}");
        let entry = format!("{LIVE}/h/progs/entry");
        // No table of programs: the object whole, and of the list one.
        let wild = config("alternatives = [[\"wild\", \"tame\"]]\nmaps.jumps.programs = { 0 = \"wild\" }");
        let report = s.apply(&wild).exits(0);
        let why = passed_over(&report, "program h/wild", "tame");
        assert!(why.starts_with("refused by the verifier: ") && why.ends_with("(EACCES)"), "{why}");
        let used = note(&report, "program h/tame");
        assert!(used.starts_with("only pinned: ") && used.ends_with(&format!("; instead of wild: {why}")), "{used}");
        assert_eq!((shelf("h", "progs"), s.verdict(&entry)), (vec!["entry".into(), "tame".into(), "tamer".into()], 5));
        s.apply(&wild).exits(0).nothing_done();
        // An index that names a spare one stays empty as long as nobody needs it.
        let report = s
            .apply(&config(
                "alternatives = [[\"tamer\", \"tame\"]]\nmaps.jumps.programs = { 0 = \"tame\" }\nprograms.entry = {}",
            ))
            .exits(0);
        assert_eq!(
            (report.status("program h/tamer"), shelf("h", "progs"), s.verdict(&entry)),
            ("done", vec!["entry".into(), "tamer".into()], 7)
        );
        // A tried spare one fails as ever.
        let report = s.apply(&config("alternatives = [[\"tame\", \"wild\"]]\nprograms.entry = {}")).exits(0);
        assert_eq!(report.status("program h/tame"), "done");
        // One XDP program of two is there to attach.
        let two = config("alternatives = [[\"wild\", \"tame\"]]\nprograms = {wild = {}}");
        s.apply(&two).exits(0);
        s.with(&two, &["attach", "lo", "--mode", "generic"]).exits(0);
        s.apply(&two).exits(0).nothing_done();
        s.json(&["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn the_plan_says_what_would_be_tried() {
    sandbox(|s| {
        let config = ways("alternatives = [[\"by_fentry\", \"by_kprobe\", \"by_raw\"]]\nprograms.by_tracepoint = {}");
        for (verb, code, status) in [(&["apply", "--dry-run"][..], 0, "planned"), (&["check"], 5, "drift")] {
            let report = s.with(&config, verb).exits(code);
            assert_eq!((report.status(FENTRY), note(&report, FENTRY)), (status, "else by_kprobe"));
            assert!(report.steps().iter().all(|step| step["id"] != KPROBE && step["id"] != RAW), "{:#}", report.json);
        }
    });
}

/// Two programs of which it is known beforehand that they cannot be loaded, and one that can.
const ODD: &str = "
SEC(\"netfilterx\") int odd(void *ctx) { return 0; }
SEC(\"netfiltery\") int odder(void *ctx) { return 0; }
SEC(\"raw_tp/sched_switch\") int even(void *ctx) { return 0; }
";

#[test]
fn what_is_known_to_be_impossible_is_not_tried() {
    sandbox(|s| {
        compile(s, "/run/odd.o", ODD);
        let config = |list: &str| format!("[object.odd]\npath = \"/run/odd.o\"\nalternatives = [[{list}]]\n");
        let all = config("\"odd\", \"odder\", \"even\"");
        let known = "aya knows no programs of section \"netfilterx\"";
        for (verb, code, status) in [
            (&["apply", "--dry-run"][..], 0, "planned"),
            (&["check"], 5, "drift"),
            (&["apply"], 0, "done"),
            (&["check"], 0, "already"),
            (&["apply"], 0, "already"),
        ] {
            let report = s.with(&all, verb).exits(code);
            assert_eq!(passed_over(&report, "program odd/odd", "odder"), known);
            let why = passed_over(&report, "program odd/odder", "even");
            let id = "program odd/even";
            assert_eq!((report.status(id), note(&report, id)), (status, &*format!("instead of odder: {why}")));
        }
        s.json(&["undo"]).exits(0);
        // Of a list without any, nothing is begun.
        let none = format!("{}programs.odd = {{}}\n", config("\"odd\", \"odder\""));
        for (more, code) in [("", 1), ("optional = true\n", 3)] {
            let report = s.apply(&format!("{none}{more}")).exits(code);
            let (cause, text) = report.fault("program odd/odder");
            assert!(cause == "kernel" && text.starts_with(&format!("instead of odd: {known}: aya knows")), "{text}");
            assert_eq!(s.pins(), [""; 0]);
        }
    });
}

#[test]
fn what_the_object_does_not_hold_and_what_cannot_change_its_name_is_refused() {
    sandbox(|s| {
        compile(s, "/run/handlers.o", HANDLERS);
        for (keys, said) in [
            ("alternatives = [[\"tame\", \"tam\"]]", "the object holds no program \"tam\""),
            (
                "alternatives = [[\"tame\", \"tamer\"]]\nprograms.tame = { attach = { xdp = \"lo\" } }",
                "program tame has alternatives",
            ),
        ] {
            let report = s.apply(&format!("[object.h]\npath = \"/run/handlers.o\"\n{keys}")).exits(1);
            let (_, text) = report.fault("object h");
            assert!(text.contains(said), "{text}");
        }
        assert_eq!(s.pins(), [""; 0]);
    });
}
