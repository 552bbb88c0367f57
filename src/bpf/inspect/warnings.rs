//! What is wrong with an object, or will be, as far as it can be seen without loading it.

use super::{
    Inspection, Program,
    calls::{BEFORE_TAIL_CALL, Calls, Chain, FRAMES_MAX, STACK_MAX},
    gpl,
    tail::JUMPS_MAX,
};
use crate::bpf::kind::Kind;

/// Something the reader should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// The program; empty for the whole object.
    pub program: String,
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub mend: String,
    /// Whether every kernel refuses it for that.
    pub refuses: bool,
}

const PER_CPU: &str = "keep large values in a per-CPU array map, and not on the stack";

/// Whether the kernel gives such programs a stack of their own, each subprogram of which may have all of 512 bytes: since
/// 6.13 on x86-64 (bpf_enable_priv_stack() in kernel/bpf/verifier.c).
const fn has_private_stack(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Kprobe
            | Kind::Kretprobe
            | Kind::Uprobe
            | Kind::Uretprobe
            | Kind::Tracepoint
            | Kind::RawTracepoint
            | Kind::PerfEvent
            | Kind::TpBtf
            | Kind::Fentry
            | Kind::Fexit
    )
}

/// What is wrong with the stack of a program.
pub fn of_stack(
    program: &Program,
    kind: Kind,
    typed: bool,
    calls: &Calls,
    chains: &[Chain],
    depths: &[u32],
) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |refuses, what: String, mend: &str| {
        found.push(Warning { program: program.name.clone(), what, mend: mend.into(), refuses });
    };
    let name = |number: &usize| program.subprograms.get(*number).map_or("?", |subprogram| subprogram.name.as_str());
    let path = |numbers: &[usize]| numbers.iter().map(name).collect::<Vec<_>>().join(" -> ");
    let mut alone = true;
    for (number, depth) in depths.iter().enumerate().filter(|(_, depth)| **depth > STACK_MAX) {
        alone = false;
        warn(true, format!("the stack of {} takes {depth} bytes; {STACK_MAX} is the most", name(&number)), PER_CPU);
    }
    let any_tail_call = calls.tail_calls.contains(&true);
    if let Some(chain) = chains.first().filter(|chain| alone && chain.path.len() > 1 && !chain.is_recursive()) {
        let what =
            |bytes| format!("the stacks of {} take {bytes} bytes together; {STACK_MAX} is the most", path(&chain.path));
        if chain.bytes > STACK_MAX && has_private_stack(kind) && !any_tail_call {
            warn(false, what(chain.bytes) + " before 6.13, and where not on x86-64", PER_CPU);
        } else if chain.bytes > STACK_MAX {
            warn(true, what(chain.bytes), PER_CPU);
        } else if let Some(chain) = chains.iter().find(|chain| chain.before_6_9 > STACK_MAX) {
            let what = format!("the stacks of {} take {} bytes before 6.9", path(&chain.path), chain.before_6_9);
            warn(false, format!("{what}; {STACK_MAX} is the most"), PER_CPU);
        }
    }
    if let Some(chain) = chains.iter().find(|chain| chain.is_recursive()) {
        warn(true, format!("functions call themselves: {}", path(&chain.path)), "use a loop, or bpf_loop()");
    } else if let Some(chain) = chains.iter().find(|chain| chain.path.len() > FRAMES_MAX) {
        let what =
            format!("{} functions call each other in a row; {FRAMES_MAX} is the most up to 6.18", chain.path.len());
        warn(true, format!("{what}: {}", path(&chain.path)), "make some of them __always_inline");
    }
    if let Some((chain, before)) = calls.too_deep_for_tail_call(chains, depths) {
        let what = format!(
            "{} has a tail call, and the stacks before it take {before} bytes; it must be less than {BEFORE_TAIL_CALL}",
            path(&chain)
        );
        warn(true, what, "make the tail call in the program itself, or keep large values in a per-CPU array map");
    }
    if !typed && calls.tail_calls.iter().skip(1).any(|tail_call| *tail_call) {
        let what = "a function of it has a tail call, which the kernel takes only with BTF".to_owned();
        warn(true, what, "compile it with -g");
    }
    found
}

impl Inspection {
    /// Looks for what shows only in the whole object.
    pub(super) fn warn(&mut self, unknown: &[(String, u32)]) {
        let mut found = Vec::new();
        let mut warn = |program: &str, refuses, what: String, mend: &str| {
            found.push(Warning { program: program.into(), what, mend: mend.into(), refuses });
        };
        for program in &self.programs {
            let name = program.name.as_str();
            let way = &program.way;
            let is_first = || !self.programs.iter().any(|other| other.way.programs.iter().any(|next| next == name));
            if way.endless && way.programs.iter().any(|next| next == name) {
                let what = format!(
                    "its tail calls come back to it ({name} -> {}): only the kernel's limit of {JUMPS_MAX} ends them",
                    way.programs.join(" -> ")
                );
                warn(name, false, what, "count the jumps, or make sure that one of them ends it");
            } else if !way.endless && way.programs.len() > JUMPS_MAX && is_first() {
                let what = format!("a chain of {} tail calls; the kernel stops after {JUMPS_MAX}", way.programs.len());
                warn(name, false, what, "do more in each of its programs");
            }
            let restricted: Vec<&str> =
                program.helpers.iter().map(String::as_str).filter(|helper| gpl::is_gpl_only(helper)).collect();
            let only = match () {
                () if !restricted.is_empty() => Some(format!("GPL-only helpers ({})", restricted.join(", "))),
                () if !program.functions.is_empty() => {
                    Some(format!("kernel functions ({})", program.functions.join(", ")))
                }
                () if program.kind == "lsm" => Some("LSM programs".to_owned()),
                () => None,
            };
            if let Some(only) = only.filter(|_| !self.gpl) {
                let what = format!("{only} are for programs under the GPL; the licence is {:?}", self.license);
                warn(name, true, what, "char LICENSE[] SEC(\"license\") = \"GPL\"; or \"Dual BSD/GPL\"");
            }
        }
        for (program, helper) in unknown {
            let what = format!("helper #{helper} is unknown: there is none of that number up to 6.18");
            warn(program, true, what, "rebuild it against the headers of the kernel that it is for");
        }
        self.warnings.extend(found);
    }
}
