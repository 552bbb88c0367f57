//! The verifier's own figures, out of the log that it ends with when it is asked for statistics
//! (print_verification_stats() in kernel/bpf/verifier.c).

/// What the verifier says of a program that it took.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Instructions processed, over all ways through the program.
    pub processed: u64,
    /// Most states kept for one instruction.
    pub states_per_instruction: u64,
    /// States kept.
    pub total_states: u64,
    /// States kept at once.
    pub peak_states: u64,
    /// Bytes of stack, by the subprograms that it left.
    pub stack: Vec<u32>,
    /// Microseconds that it took, where it says so.
    pub took_us: u64,
}

impl Verdict {
    /// Reads the end of a log.
    pub fn parse(log: &str) -> Self {
        let mut verdict = Self::default();
        for line in log.lines() {
            if let Some(depths) = line.strip_prefix("stack depth ") {
                verdict.stack = depths.split('+').filter_map(|depth| depth.trim().parse().ok()).collect();
            } else if let Some(usec) = line.strip_prefix("verification time ") {
                verdict.took_us = leading(usec);
            } else if let Some(rest) = line.strip_prefix("processed ") {
                verdict.processed = leading(rest);
                let after = |word: &str| line.split_once(word).map_or(0, |(_, rest)| leading(rest.trim_start()));
                verdict.states_per_instruction = after("max_states_per_insn");
                verdict.total_states = after("total_states");
                verdict.peak_states = after("peak_states");
            }
        }
        verdict
    }
}

fn leading(text: &str) -> u64 {
    text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_read() {
        let log = "verification time 31 usec\nstack depth 8+0+16\nprocessed 24 insns (limit 1000000) \
            max_states_per_insn 1 total_states 5 peak_states 4 mark_read 2\n";
        let expected = Verdict {
            processed: 24,
            states_per_instruction: 1,
            total_states: 5,
            peak_states: 4,
            stack: vec![8, 0, 16],
            took_us: 31,
        };
        assert_eq!(Verdict::parse(log), expected);
        assert_eq!(Verdict::parse(""), Verdict::default());
    }
}
