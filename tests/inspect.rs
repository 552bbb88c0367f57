//! `inspect`, judged by the verifier: what is said of an object without loading it is what the kernel says when it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{Sandbox, Value, compile, object, ok, sandbox};

/// Builds one of tests/objects/inspect.
fn build(name: &str, to: &str, flags: &[&str]) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/objects/inspect/{name}.bpf.c"));
    let machine = String::from_utf8(ok(Command::new("cc").arg("-print-multiarch")).stdout).unwrap();
    let include = format!("-I/usr/include/{}", machine.trim());
    let to = format!("/run/{to}.bpf.o");
    ok(Command::new("clang").args(["-w", "-g", "-target", "bpf", &include, "-o", &to, "-c"]).args(flags).arg(source));
    to
}

/// Every source, compiled in several ways: their names and the objects.
fn all() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/inspect");
    let mut sources: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    let mut objects = Vec::new();
    for source in sources {
        let name = source.file_name().unwrap().to_str().unwrap().trim_end_matches(".bpf.c").to_owned();
        for (number, flags) in
            [["-O1", "-mcpu=v1"], ["-O2", "-mcpu=v1"], ["-O1", "-mcpu=v3"], ["-O2", "-mcpu=v3"]].iter().enumerate()
        {
            objects.push(build(&name, &format!("{name}.{number}"), flags));
        }
    }
    // The same sources with other sizes.
    for bytes in ["-DBYTES=40", "-DBYTES=56", "-DBYTES=136"] {
        for name in ["stack", "calls"].into_iter().filter(|name| *name == "stack" || bytes != "-DBYTES=136") {
            objects.push(build(name, &format!("{name}{bytes}"), &["-O2", bytes]));
        }
    }
    for rounds in ["-DROUNDS=16", "-DROUNDS=32"] {
        objects.push(build("loops", &format!("loops{rounds}"), &["-O2", rounds]));
    }
    objects.extend(["builtin:edge", "builtin:trace", "builtin:reads"].map(str::to_owned));
    for name in ["chain", "count_v1", "maps", "peek", "probes", "slow", "slow_tp", "table_64", "tail", "typed", "ways"]
    {
        objects.push(object(name));
    }
    objects
}

fn inspect(s: &Sandbox, args: &[&str]) -> (i32, Value) {
    let ran = s.bpfboot(&[&["--json", "inspect"], args].concat());
    (
        ran.code.unwrap(),
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}{}", ran.stdout, ran.stderr)),
    )
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap()
}

/// What libbpf hands to the kernel: the instructions of each program by its name, of which the kernel keeps 15 bytes.
fn by_libbpf(object: &str) -> BTreeMap<String, u64> {
    let trace = "/run/trace.txt";
    let pins = "/sys/fs/bpf/judged";
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=bpf", "-v", "-s", "64", "-o", trace]);
    let _ = command.args(["bpftool", "prog", "loadall", object, pins]).output().unwrap();
    let _ = fs::remove_dir_all(pins);
    let text = fs::read_to_string(trace).unwrap();
    let loads = text.lines().filter(|line| line.contains("BPF_PROG_LOAD"));
    let after = |line: &str, key: &str| Some(line.split_once(key)?.1.split([',', '"']).next()?.to_owned());
    loads.filter_map(|line| Some((after(line, "prog_name=\"")?, after(line, "insn_cnt=")?.parse().ok()?))).collect()
}

/// Bar of issue 7: at least forty objects.
const OBJECTS: usize = 40;

#[test]
fn figures_are_the_verifiers() {
    sandbox(|s| {
        let (mut judged, mut programs, mut counted) = (0, 0, 0);
        let mut wrong = Vec::new();
        for object in all() {
            let (_, seen) = inspect(s, &[&object, "--load"]);
            let libbpf = if object.starts_with("builtin:") { BTreeMap::new() } else { by_libbpf(&object) };
            let before = programs;
            for program in list(&seen, "programs") {
                let name = program["name"].as_str().unwrap();
                let verifier = &program["verifier"];
                let Some(fault) = verifier.get("fault") else {
                    let reached = list(program, "subprograms").iter().filter(|sub| !sub["stack"].is_null());
                    let depths: Vec<&Value> = reached.map(|sub| &sub["stack"]).collect();
                    let theirs: Vec<&Value> = list(verifier, "stack").iter().collect();
                    if depths != theirs || program["stack_exact"] != true || theirs.is_empty() {
                        wrong.push(format!("{object} {name}: {depths:?}, the verifier {theirs:?}"));
                    }
                    let instructions = program["instructions"].as_u64().unwrap();
                    let kept: String = name.chars().take(15).collect();
                    if let Some(theirs) = libbpf.get(&kept) {
                        counted += 1;
                        if *theirs != instructions {
                            wrong.push(format!("{object} {name}: {instructions} instructions, libbpf {theirs}"));
                        }
                    }
                    assert!(verifier["processed"].as_u64().unwrap() > 0);
                    programs += 1;
                    continue;
                };
                // This machine loads no trampolines.
                let kind = program["kind"].as_str().unwrap();
                assert!(["fentry", "fexit", "lsm"].contains(&kind), "{object} {name}: {fault}");
            }
            judged += usize::from(programs > before);
        }
        println!("{judged} objects, {programs} programs, instructions of {counted} counted by libbpf, too");
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        assert!(judged >= OBJECTS && counted > programs / 2, "{judged} objects, {counted} of {programs} programs");
    });
}

#[test]
fn tail_calls_run_as_deep_as_is_said() {
    sandbox(|s| {
        for length in [0, 1, 5, 32, 33, 34, 35] {
            let object = build("jumps", "jumps", &["-O2", &format!("-DLENGTH={length}")]);
            let (code, seen) = inspect(s, &[&object]);
            assert_eq!(code, 0, "{seen}");
            let first = list(&seen, "programs").iter().find(|program| program["name"] == "jump_0").unwrap();
            assert_eq!(first["tail_calls"], length, "{first}");
            assert_eq!(first["tail_calls_endless"], false);
            let warned = list(&seen, "warnings").iter().filter(|warning| warning["program"] == "jump_0").count();
            assert_eq!(warned, usize::from(length > 33), "{seen}");
            // So many bodies does the kernel run.
            assert_eq!(s.apply(&format!("[object.jumps]\npath = \"{object}\"")).ran.code, Some(0));
            let pin = format!("{}/jumps", common::LIVE);
            let frame = "/run/frame";
            fs::write(frame, [0; 64]).unwrap();
            let run = ["prog", "run", "pinned", &format!("{pin}/progs/jump_0"), "data_in", frame, "repeat", "1"];
            ok(Command::new("bpftool").args(run));
            let dump = ["--json", "map", "dump", "pinned", &format!("{pin}/maps/bodies")];
            let dump: Value = serde_json::from_slice(&ok(Command::new("bpftool").args(dump)).stdout).unwrap();
            assert_eq!(dump[0]["value"][0], format!("{:#04x}", length.min(33) + 1), "{dump}");
            s.bpfboot(&["undo"]);
        }
        let (_, seen) = inspect(s, &[&object("chain"), "-c", s.config("c.toml", "").to_str().unwrap()]);
        assert_eq!(list(&seen, "programs")[0]["jumps"][0]["programs"], Value::Array(Vec::new()));
        // What the configuration puts there counts.
        let config = format!("[object.c]\npath = \"{}\"\nmaps.jumps.programs = {{ 0 = \"step\" }}", object("chain"));
        let (_, seen) = inspect(s, &[&object("chain"), "-c", s.config("c.toml", &config).to_str().unwrap()]);
        assert_eq!(list(&seen, "programs")[0]["tail_calls_endless"], true);
        assert!(list(&seen, "warnings")[0]["what"].as_str().unwrap().contains("come back"));
    });
}

/// The warnings of an object, and what the verifier says of its programs.
fn refused(s: &Sandbox, object: &str) -> (Vec<String>, String) {
    let (code, seen) = inspect(s, &[object, "--load"]);
    assert_eq!(code, 1, "{seen}");
    assert_eq!(inspect(s, &[object]).0, 1, "{seen}");
    let warnings = list(&seen, "warnings").iter();
    let refusing = warnings.filter(|warning| warning["refuses"] == true);
    let what = refusing.map(|warning| warning["what"].as_str().unwrap().to_owned()).collect();
    let faults: Vec<String> = list(&seen, "programs").iter().map(|program| program["verifier"].to_string()).collect();
    (what, faults.join("\n"))
}

#[test]
fn what_the_kernel_refuses_is_said_before() {
    sandbox(|s| {
        let (warnings, verifier) = refused(s, &build("in_function", "before", &["-O2", "-DBEFORE=256"]));
        let before = "the stacks before it take 256 bytes";
        assert!(warnings.len() == 1 && warnings[0].contains(before), "{warnings:?}");
        assert!(verifier.contains("call stack of previous frames is 256 bytes"), "{verifier}");
        assert_eq!(inspect(s, &[&build("in_function", "before", &["-O2", "-DBEFORE=240"]), "--load"]).0, 0);

        let body = "static __attribute__((noinline)) int inner(struct xdp_md *ctx) {\n\
            char bytes[304]; bpf_get_current_comm(bytes, 304); return bytes[1]; }\n\
            SEC(\"xdp\") int outer(struct xdp_md *ctx) {\n\
            char bytes[304]; bpf_get_current_comm(bytes, 304); return inner(ctx) + bytes[1] & 1; }";
        compile(s, "/run/chain.bpf.o", body);
        let (warnings, verifier) = refused(s, "/run/chain.bpf.o");
        let together = "the stacks of outer -> inner take 608 bytes together";
        assert!(warnings.len() == 1 && warnings[0].contains(together), "{warnings:?}");
        assert!(verifier.contains("combined stack size of 2 calls is 608"), "{verifier}");
        // Tracing programs have had a stack of their own since 6.13.
        compile(s, "/run/chain.bpf.o", &body.replace("\"xdp\"", "\"raw_tp/sys_enter\""));
        let (code, seen) = inspect(s, &["/run/chain.bpf.o", "--load"]);
        assert_eq!((code, &list(&seen, "warnings")[0]["refuses"]), (0, &Value::Bool(false)), "{seen}");

        let deep = "SEC(\"xdp\") int deep(struct xdp_md *ctx) { asm volatile(\"r1 = 0; *(u64 *)(r10 - 520) = r1\" ::: \"r1\"); return 1; }";
        compile(s, "/run/deep.bpf.o", deep);
        let (warnings, verifier) = refused(s, "/run/deep.bpf.o");
        assert!(warnings[0].contains("the stack of deep takes 520 bytes; 512 is the most"), "{warnings:?}");
        assert!(verifier.contains("invalid write to stack"), "{verifier}");

        let head = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC(\"license\") = ";
        let print = "SEC(\"xdp\") int says(struct xdp_md *ctx) { bpf_printk(\"x\"); return 1; }";
        compile(s, "/run/gpl.bpf.o", print);
        assert_eq!(inspect(s, &["/run/gpl.bpf.o", "--load"]).0, 0);
        let own = s.file("/run/own.bpf.c", &format!("{head}\"Proprietary\";\n{print}"));
        let machine = String::from_utf8(ok(Command::new("cc").arg("-print-multiarch")).stdout).unwrap();
        let include = format!("-I/usr/include/{}", machine.trim());
        ok(Command::new("clang")
            .args(["-g", "-O2", "-target", "bpf", &include, "-o", "/run/own.bpf.o", "-c"])
            .arg(own));
        let (warnings, verifier) = refused(s, "/run/own.bpf.o");
        let only = "GPL-only helpers (trace_printk) are for programs under the GPL; the licence is \"Proprietary\"";
        assert_eq!(warnings, [only]);
        assert!(verifier.contains("GPL"), "{verifier}");

        compile(s, "/run/odd.bpf.o", "SEC(\"xdp\") int odd(struct xdp_md *ctx) { return ((long (*)(void))9999)(); }");
        let (warnings, verifier) = refused(s, "/run/odd.bpf.o");
        assert!(warnings[0].contains("helper #9999 is unknown"), "{warnings:?}");
        assert!(verifier.contains("9999"), "{verifier}");
    });
}

#[test]
fn people_read_it_and_a_bad_object_is_bad_input() {
    sandbox(|s| {
        let ran = s.bpfboot(&["inspect", "builtin:edge"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        for line in ["  tail call   dispatch[2] -> tls", "CAP_NET_ADMIN  networking: ", "map      dispatch: prog_array"]
        {
            assert!(ran.stdout.contains(line), "{line:?} is missing\n{}", ran.stdout);
        }
        let (_, seen) = inspect(s, &["builtin:edge"]);
        assert_eq!(seen["kernel"], "5.8");
        assert_eq!(seen["license"], "Dual MIT/GPL");
        assert!(list(&seen, "programs").iter().all(|program| program["verifier"].is_null()));
        let core = inspect(s, &[&build("core", "core", &["-O2"])]).1;
        assert!(core["core_relocations"].as_u64().unwrap() >= 5, "{core}");
        assert!(list(&core, "kernel_btf").len() >= 2, "{core}");
        let kernel = inspect(s, &[&build("kernel", "kernel", &["-O2"])]).1;
        let called = list(&kernel, "programs").iter().flat_map(|program| list(program, "kernel_functions"));
        assert!(called.into_iter().any(|name| name == "bpf_iter_num_next"), "{kernel}");
        for bad in ["/etc/hostname", "/run/nothing", "builtin:nothing"] {
            assert_eq!(s.bpfboot(&["inspect", bad]).code, Some(2), "{bad}");
        }
        assert_eq!(s.bpfboot(&["inspect"]).code, Some(2));
    });
}
