//! Bar: preflight says yes or no for each program of each object of the tests, and the kernel that it was asked about
//! agrees, now that it runs.

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64};

use crate::{
    common::{Report, Sandbox, object, say},
    guest,
    kernels::Kernel,
};

/// What the verifier refuses on every kernel is not what preflight is about.
const WRONG: [&str; 2] = ["wild", "wordy"];

/// So many programs are loaded by one run.
const AT_ONCE: usize = 15;

/// The objects of the tests, and ours.
fn objects() -> Vec<PathBuf> {
    let theirs = PathBuf::from(object("typed")).parent().unwrap().to_owned();
    let ours = theirs.parent().unwrap().join("ebpf");
    let mut objects: Vec<PathBuf> =
        [theirs, ours].iter().flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path()).collect();
    objects.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".bpf.o") && !name.starts_with("wrong") && !name.starts_with("unfree")
    });
    objects.sort();
    objects
}

/// The programs of an object, by its symbols.
fn programs(elf: &[u8]) -> Vec<String> {
    let file = ElfFile64::<Endianness>::parse(elf).unwrap();
    let of = |symbol: &object::read::elf::ElfSymbol64<'_, '_, Endianness>| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let is_program = symbol.kind() == SymbolKind::Text && section.name() != Ok(".text");
        is_program.then(|| symbol.name().unwrap().to_owned())
    };
    file.symbols().filter_map(|symbol| of(&symbol)).filter(|name| !WRONG.contains(&name.as_str())).collect()
}

/// What is wrong with each object of the report that did not come up.
fn refused(report: &Report) -> BTreeMap<String, String> {
    let mut refused = BTreeMap::new();
    for step in report.steps() {
        let told = step["note"].as_str().unwrap_or_default();
        let id = step["id"].as_str().unwrap();
        let Some((_, object)) = id.split_once(' ') else { continue };
        if step["status"] == "failed" || told.starts_with("not known") {
            let name = object.split('/').next().unwrap().to_owned();
            refused.insert(name, format!("{id}: {} {told}", step["fault"]["what"].as_str().unwrap_or_default()));
        }
    }
    refused
}

fn preflight(s: &Sandbox, kernel: Kernel, config: &str) -> Report {
    let path = s.config("preflight.toml", config);
    let mut args = vec!["-c", path.to_str().unwrap(), "preflight", "--kernel-config", "/vm/config"];
    if kernel.is_whole() {
        args.extend(["--btf", "/sys/kernel/btf/vmlinux"]);
    }
    s.json(&args)
}

#[test]
fn preflight_foresees_what_becomes_of_each_program() {
    guest(|s, kernel| {
        let mut pairs = Vec::new();
        for path in objects() {
            let stem = path.file_name().unwrap().to_str().unwrap().replace(".bpf.o", "");
            // Of a crowd of the same program with forty maps, as many as a small guest has the memory for.
            let some = if stem == "crowd" { 2 } else { usize::MAX };
            for program in programs(&fs::read(&path).unwrap()).into_iter().take(some) {
                let name = format!("{stem}-{program}");
                let wish = format!("path = \"{}\"\noptional = true\nprograms.{program} = {{}}", path.display());
                pairs.push((name.clone(), format!("[object.{name}]\n{wish}\n")));
            }
        }
        // Some take the verifier its time, on an emulated processor.
        let (mut foreseen, mut became) = (BTreeMap::new(), BTreeMap::new());
        for some in pairs.chunks(AT_ONCE) {
            let mut config = String::from("[bpf]\ndeadline = \"250s\"\n[mounts]\ntracefs = { if-available = true }\n");
            some.iter().for_each(|(_, object)| config += object);
            foreseen.extend(refused(&preflight(s, kernel, &config)));
            became.extend(refused(&s.apply(&config)));
        }
        let mut wrong = String::new();
        for (pair, _) in &pairs {
            match (foreseen.get(pair), became.get(pair)) {
                (None, Some(why)) => writeln!(wrong, "{pair}: foreseen, but {why}").unwrap(),
                (Some(why), None) => writeln!(wrong, "{pair}: works, but was said to fail: {why}").unwrap(),
                _ => {}
            }
        }
        let untold: Vec<_> = foreseen.values().filter(|why| why.contains("not known")).collect();
        let working = pairs.len() - became.len();
        say(&format!("{} programs, {working} of which work on this kernel", pairs.len()));
        assert!(pairs.len() >= 60 && untold.is_empty(), "{} {untold:?}", pairs.len());
        assert!(wrong.is_empty(), "{kernel:?}:\n{wrong}");
    });
}
