//! What the verifier means: its log reduced to the line that says why, the reason, and the line of the source.

use crate::reason::Reason;

/// What its lines say, and the reason for it. The words are those of kernel/bpf/verifier.c, of 5.10 to 6.18; of two that
/// fit, the first counts.
const PATTERNS: &str = "\
combined stack size of; call-chain
frames is too deep; call-depth
frames are too deep; call-depth
tail_calls are not allowed when; tail-call
tail_call is not allowed in; tail-call
to stack R; stack
stack off; stack
stack depth exceeds; stack
infinite loop; loop
back-edge from; loop
program is too large; complexity
jumps is too complex; complexity
map_value_or_null; null-check
_or_null'; null-check
outside of the packet; packet-bounds
invalid access to packet; packet-bounds
bpf_context access; context
!read_ok; uninitialised
invalid read from stack; uninitialised
GPL-restricted; licence
GPL compatible; licence
cannot use helper; helper
unknown func; helper
invalid func; helper
reference leak; reference
Unreleased reference; reference
min value is outside; bounds
max value is outside; bounds
invalid access to map value; bounds
invalid access to memory; bounds
unbounded memory access; bounds
min value is negative; bounds
map_value pointer; bounds
invalid mem access; pointer
R0 has ; return-value
At program exit; return-value
 expected=; argument
unreachable insn; malformed
unknown opcode; malformed
jump out of range; malformed
unrecognized bpf; malformed";

/// What stands behind the reason.
const STATISTICS: [&str; 6] =
    ["processed ", "verification time", "stack depth ", "peak_states", "max_states", "subprog "];

/// A log, understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict<'a> {
    /// The verifier's own words.
    pub words: &'a str,
    /// What they come to.
    pub reason: Reason,
    /// The source, and where it is: `value->count++;`, `edge.bpf.c:17`; the place is empty before 6.10.
    pub source: Option<(&'a str, &'a str)>,
}

impl<'a> Verdict<'a> {
    /// Reads a log; `None` when there is nothing in it.
    pub fn read(log: &'a str) -> Option<Self> {
        // 7.3 puts an explanation behind the reason.
        let log = log.split("\nVerification failed: ").next()?;
        let said = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
        let lines = || log.lines().rev().map(str::trim).filter(said);
        let last = lines().next()?;
        // What it says of the state it was in comes behind the reason, and before it the instruction.
        let why = || lines().take_while(|line| !is_instruction(line)).filter_map(|line| Some((line, reason(line)?)));
        // 7.3 names the packet only in the line before the last.
        let found = why().find(|(_, reason)| *reason == Reason::PacketBounds).or_else(|| why().next());
        let (words, reason) = found.unwrap_or((last, Reason::Verifier));
        // What is summed up at the end is about no one line.
        let source = match reason {
            Reason::CallChain | Reason::TailCall if !words.contains("tail_call is") => None,
            _ => lines().find_map(source),
        };
        Some(Self { words, reason, source })
    }

    /// The words, and the line they are about.
    pub fn told(&self) -> String {
        let Self { words, source, .. } = self;
        match source {
            Some((text, "")) => format!("{words}, at `{text}`"),
            Some((text, place)) => format!("{words}, at {place}: `{text}`"),
            None => (*words).to_owned(),
        }
    }
}

fn reason(line: &str) -> Option<Reason> {
    let patterns = PATTERNS.lines().filter_map(|pattern| pattern.split_once("; "));
    patterns.into_iter().find(|(words, _)| line.contains(words)).and_then(|(_, reason)| Reason::from_word(reason))
}

/// `5: (55) if r2 != 0x7 goto pc-4`, and the source above it.
fn is_instruction(line: &str) -> bool {
    line.starts_with(';') || line.split_once(": (").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// `; value->count++; @ edge.bpf.c:17`, also behind an instruction.
fn source(line: &str) -> Option<(&str, &str)> {
    let text = match line.strip_prefix("; ") {
        Some(text) => text,
        None if is_instruction(line) && line.contains(" @ ") => line.split_once(" ; ")?.1,
        None => return None,
    };
    Some(text.rsplit_once(" @ ").unwrap_or((text, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(log: &str) -> Option<(&str, Reason)> {
        Verdict::read(log).map(|verdict| (verdict.words, verdict.reason))
    }

    #[test]
    fn the_verifiers_last_word_is_found() {
        let log =
            "0: R1=ctx() R10=fp0\n0: (79) r0 = *(u64 *)(r1 +0)\nR1 !read_ok\nprocessed 1 insns (limit 1000000)\n\n";
        let wanted = Some(("R1 !read_ok", Reason::Uninitialised));
        assert_eq!(of(log), wanted);
        let newer = "R1 !read_ok\n\nVerification failed: Policy\n\nSuggestion:\n  Do not.\n\nsubprog 0 (peek) main\n";
        assert_eq!(of(newer), wanted);
        assert_eq!(of("R1 !read_ok\nsubprog 0 (peek) main\nprocessed 1 insns\n"), wanted);
        assert_eq!(of(""), None);
        assert_eq!(of("what nobody has said yet\n"), Some(("what nobody has said yet", Reason::Verifier)));
    }

    #[test]
    fn the_reason_is_told_from_the_states_behind_it() {
        let log = "; while (wait != 7) @ wrong.bpf.c:85\n\
                   5: (55) if r2 != 0x7 goto pc-4 ; asm volatile(\"\" : \"+r\"(wait)); @ wrong.bpf.c:86\n\
                   infinite loop detected at insn 2\ncur state: R1=scalar()\nold state: R1=scalar()\nstack depth 0\n";
        let verdict = Verdict::read(log);
        assert_eq!(
            verdict.map(|verdict| (verdict.reason, verdict.told())),
            Some((
                Reason::Loop,
                "infinite loop detected at insn 2, at wrong.bpf.c:86: `asm volatile(\"\" : \"+r\"(wait));`".into()
            ))
        );
    }

    #[test]
    fn a_packet_is_told_from_other_memory() {
        let log = "1: (71) r0 = *(u8 *)(r1 +0)\ninvalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)\n\
            R1 min value is outside of the allowed memory range\n\nVerification failed: Memory Safety\n";
        assert_eq!(of(log), Some(("invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)", Reason::PacketBounds)));
    }

    #[test]
    fn older_kernels_tell_the_source_without_its_place() {
        let log = "; return *value;\n6: (61) r0 = *(u32 *)(r0 +0)\nR0 invalid mem access 'map_value_or_null'\n";
        let told = Verdict::read(log).map(|verdict| (verdict.reason, verdict.told()));
        let words = "R0 invalid mem access 'map_value_or_null', at `return *value;`";
        assert_eq!(told, Some((Reason::NullCheck, words.into())));
        // What follows an instruction is no source, and neither is what one holds.
        assert_eq!(source("0: (61) r3 = *(u32 *)(r1 +16)   ; R1=ctx() R3=scalar()"), None);
        assert_eq!(of("0: (85) call unknown#7\ninvalid func unknown#7\n").map(|of| of.1), Some(Reason::Helper));
    }

    #[test]
    fn every_pattern_has_a_reason() {
        for line in PATTERNS.lines() {
            let known = line.split_once("; ").and_then(|(_, reason)| Reason::from_word(reason));
            assert!(known.is_some(), "{line}");
        }
    }
}
