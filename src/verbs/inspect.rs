//! `inspect`: what an object is and takes, before anybody loads it. Loads it for the verifier's word if asked to, and
//! leaves nothing.

use std::fmt::Write;

use crate::{
    bpf::{self, Inspection, Program, STACK_MAX},
    cli::Options,
    config::{Config, ObjectSource},
    error::Fault,
    health::Health,
    report::{Object, Shape, clean, complain, fault, list, say},
};

/// Most chains of calls that are told of one program.
const CHAINS_TOLD: usize = 16;

/// Inspects it: [`Health::Failed`] when a kernel refuses it, or would.
pub fn inspect(config: &Config, options: &Options, source: &ObjectSource, load: bool) -> Health {
    let configured = config.objects.values().find(|wish| wish.source == *source);
    // Who only looks need not trust.
    let seen = match bpf::inspect(source, configured, options.allow_untrusted || !load, load) {
        Ok(seen) => seen,
        Err(fault) => {
            complain(&format!("bpfboot: {}\n", told(&fault)));
            return Health::BadInput;
        }
    };
    let name = match source {
        ObjectSource::Builtin(name) => format!("builtin:{name}"),
        ObjectSource::File(path) => path.display().to_string(),
    };
    match options.shape {
        Shape::Json => say(&document(&seen, &name)),
        Shape::Lines => say(&lines(&text(&seen, &name))),
        Shape::Quiet => seen.warnings.iter().for_each(|warning| say(&lines(&of_warning(warning)))),
    }
    if seen.is_refused() { Health::Failed } else { Health::Healthy }
}

/// Lines in which nothing drives a terminal, whatever names an object has.
fn lines(text: &str) -> String {
    text.lines().map(|line| clean(line) + "\n").collect()
}

fn told(fault: &Fault) -> String {
    let mend = if fault.mend.is_empty() { String::new() } else { format!("\n  mend: {}", fault.mend) };
    format!("{fault}{mend}")
}

fn of_warning(warning: &bpf::Warning) -> String {
    let about = if warning.program.is_empty() { String::new() } else { format!("{}: ", warning.program) };
    let word = if warning.refuses { "refused" } else { "warning" };
    let mend = if warning.mend.is_empty() { String::new() } else { format!("\n         mend: {}", warning.mend) };
    format!("{word}  {about}{}{mend}", warning.what)
}

fn text(seen: &Inspection, name: &str) -> String {
    let btf = if seen.typed { "with BTF" } else { "without BTF" };
    let sha = seen.sha256.get(..16).unwrap_or_default();
    let mut out = format!("object   {name}: {} bytes, sha256 {sha}, licence {:?}, {btf}\n", seen.bytes, seen.license);
    let mut head = "kernel   ";
    for version in versions(seen) {
        let parts: Vec<String> = seen
            .since
            .iter()
            .filter(|since| since.kernel == version)
            .map(|since| format!("{} ({})", since.what, bpf::few(&since.used_by)))
            .collect();
        let _ = writeln!(out, "{head}{}.{}  {}", version.major, version.minor, parts.join("; "));
        head = "         ";
    }
    if !seen.kernel_btf.is_empty() {
        let _ = writeln!(out, "BTF      of the kernel: {}", bpf::few(&seen.kernel_btf));
    }
    for ((capability, why), head) in
        seen.capabilities.iter().zip(["takes    "].into_iter().chain(std::iter::repeat("         ")))
    {
        let _ = writeln!(out, "{head}{capability:13}  {why}");
    }
    table(&mut out, &seen.programs);
    for (name, layout) in &seen.maps {
        let _ = writeln!(out, "map      {name}: {layout}");
    }
    for (name, bytes) in &seen.globals {
        let _ = writeln!(out, "global   {name}: {bytes} bytes");
    }
    for warning in &seen.warnings {
        let _ = writeln!(out, "{}", of_warning(warning));
    }
    for program in &seen.programs {
        if let Some(Err(fault)) = &program.verdict {
            let _ = writeln!(out, "refused  {}: {}", program.name, told(fault));
        }
    }
    out
}

/// The versions that something of it needs, the newest and two more.
fn versions(seen: &Inspection) -> Vec<crate::facts::KernelVersion> {
    let mut versions: Vec<_> = seen.since.iter().map(|since| since.kernel).collect();
    versions.dedup();
    versions.truncate(3);
    versions
}

fn table(out: &mut String, programs: &[Program]) {
    if programs.is_empty() {
        return;
    }
    let width = |head: &str, of: fn(&Program) -> &str| {
        programs.iter().map(|program| of(program).chars().count()).chain([head.len()]).max().unwrap_or(0)
    };
    let (name, kind, section) =
        (width("program", |p| &p.name), width("kind", |p| p.kind), width("section", |p| &p.section));
    let asked = programs.iter().any(|program| program.verdict.is_some());
    let more = if asked { "  processed  peak states" } else { "" };
    let _ = writeln!(
        out,
        "\n{:name$}  {:kind$}  {:section$}  instructions  stack  tail calls{more}",
        "program", "kind", "section"
    );
    for program in programs {
        let least = if program.vague { ">=" } else { "" };
        let stack = format!("{least}{}", deepest(program));
        let endless = if program.way.endless { "endless".to_owned() } else { program.way.programs.len().to_string() };
        let _ = write!(
            out,
            "{:name$}  {:kind$}  {:section$}  {:>12}  {stack:>5}  {endless:>10}",
            program.name, program.kind, program.section, program.instructions
        );
        match &program.verdict {
            Some(Ok(verdict)) => {
                let _ = write!(out, "  {:>9}  {:>11}", verdict.processed, verdict.peak_states);
            }
            Some(Err(_)) => *out += "    refused",
            None => {}
        }
        out.push('\n');
        details(out, program);
    }
    out.push('\n');
}

/// Bytes of the deepest chain of calls.
fn deepest(program: &Program) -> u32 {
    program.chains.first().map_or(0, |(_, bytes)| *bytes)
}

fn details(out: &mut String, program: &Program) {
    if program.subprograms.len() > 1 {
        let depth = |name: &String| {
            let found = program.subprograms.iter().find(|subprogram| subprogram.name == *name);
            format!("{name} {}", found.and_then(|subprogram| subprogram.stack).unwrap_or(0))
        };
        for (path, bytes) in program.chains.iter().take(CHAINS_TOLD) {
            let path: Vec<String> = path.iter().map(depth).collect();
            let _ = writeln!(out, "  calls       {}: {bytes} of {STACK_MAX} bytes", path.join(" -> "));
        }
        for lost in program.subprograms.iter().filter(|subprogram| subprogram.stack.is_none()) {
            let _ = writeln!(out, "  calls       {} is never reached", lost.name);
        }
    }
    for jump in &program.jumps {
        let map = jump.map.as_deref().unwrap_or("a map chosen at run time");
        let index = match jump.indices {
            (first, last) if first == last => format!("[{first}]"),
            (first, last) if last < 1 << 20 => format!("[{first}..{last}]"),
            _ => String::new(),
        };
        let to = if jump.to.is_empty() { "whatever is put there".to_owned() } else { jump.to.join(", ") };
        let _ = writeln!(out, "  tail call   {map}{index} -> {to}");
    }
    for (title, names) in [("helpers", &program.helpers), ("functions", &program.functions), ("maps", &program.maps)] {
        if !names.is_empty() {
            let _ = writeln!(out, "  {title:10}  {}", names.join(", "));
        }
    }
}

fn document(seen: &Inspection, name: &str) -> String {
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", "inspect");
    object.text("object", name);
    object.text("sha256", &seen.sha256);
    object.number("bytes", seen.bytes);
    object.text("license", &seen.license);
    object.number("gpl", seen.gpl);
    object.number("btf", seen.typed);
    object.number("core_relocations", seen.relocations);
    object.texts("kernel_btf", &seen.kernel_btf);
    let least = seen.since.first().map(|since| since.kernel);
    object.text("kernel", &least.map_or_else(String::new, |kernel| format!("{}.{}", kernel.major, kernel.minor)));
    list(object.key("since"), &seen.since, "\n", |out, since| {
        let mut object = Object::new(out);
        object.text("kernel", &format!("{}.{}", since.kernel.major, since.kernel.minor));
        object.text("what", &since.what);
        object.texts("used_by", &since.used_by);
        object.end();
    });
    list(object.key("capabilities"), &seen.capabilities, "\n", |out, (capability, why)| {
        let mut object = Object::new(out);
        object.text("capability", capability);
        object.text("why", why);
        object.end();
    });
    list(object.key("programs"), &seen.programs, "\n", of_program);
    list(object.key("maps"), &seen.maps, "\n", |out, (name, layout)| {
        let mut object = Object::new(out);
        object.text("name", name);
        object.text("layout", layout);
        object.end();
    });
    list(object.key("globals"), &seen.globals, "\n", |out, (name, bytes)| {
        let mut object = Object::new(out);
        object.text("name", name);
        object.number("bytes", bytes);
        object.end();
    });
    list(object.key("warnings"), &seen.warnings, "\n", |out, warning| {
        let mut object = Object::new(out);
        object.text("program", &warning.program);
        object.text("what", &warning.what);
        object.text("mend", &warning.mend);
        object.number("refuses", warning.refuses);
        object.end();
    });
    object.end();
    out.push('\n');
    out
}

fn of_program(out: &mut String, program: &Program) {
    let mut object = Object::new(out);
    object.text("name", &program.name);
    object.text("section", &program.section);
    object.text("kind", program.kind);
    object.number("instructions", program.instructions);
    object.number("stack", deepest(program));
    object.number("stack_exact", !program.vague);
    list(object.key("subprograms"), &program.subprograms, "", |out, subprogram| {
        let mut object = Object::new(out);
        object.text("name", &subprogram.name);
        object.number("instructions", subprogram.instructions);
        match subprogram.stack {
            Some(stack) => object.number("stack", stack),
            None => object.key("stack").push_str("null"),
        }
        object.end();
    });
    let told = program.chains.get(..CHAINS_TOLD).unwrap_or(&program.chains);
    list(object.key("calls"), told, "", |out, (path, bytes)| {
        let mut object = Object::new(out);
        object.texts("functions", path);
        object.number("bytes", bytes);
        object.end();
    });
    object.number("tail_calls", program.way.programs.len());
    object.number("tail_calls_endless", program.way.endless);
    object.texts("tail_call_way", &program.way.programs);
    list(object.key("jumps"), &program.jumps, "", |out, jump| {
        let mut object = Object::new(out);
        object.text("map", jump.map.as_deref().unwrap_or_default());
        object.number("first", jump.indices.0);
        object.number("last", jump.indices.1);
        object.texts("programs", &jump.to);
        object.end();
    });
    object.texts("helpers", &program.helpers);
    object.texts("kernel_functions", &program.functions);
    object.texts("maps", &program.maps);
    match &program.verdict {
        None => object.key("verifier").push_str("null"),
        Some(Ok(verdict)) => {
            let mut figures = Object::new(object.key("verifier"));
            figures.number("processed", verdict.processed);
            figures.number("max_states_per_instruction", verdict.states_per_instruction);
            figures.number("total_states", verdict.total_states);
            figures.number("peak_states", verdict.peak_states);
            figures.number("took_us", verdict.took_us);
            list(figures.key("stack"), &verdict.stack, "", |out, depth| *out += &depth.to_string());
            figures.end();
        }
        Some(Err(found)) => {
            let mut refusal = Object::new(object.key("verifier"));
            fault(refusal.key("fault"), found);
            refusal.end();
        }
    }
    object.end();
}
