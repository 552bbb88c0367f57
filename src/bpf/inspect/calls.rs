//! Which subprogram calls which, and what the stacks along each chain of calls come to: check_max_stack_depth() in
//! kernel/bpf/verifier.c.

use aya_obj::generated::bpf_insn;

use super::stack::Subprogram;

/// MAX_BPF_STACK: bytes of all frames of a chain.
pub const STACK_MAX: u32 = 512;
/// Bytes of the frames before a subprogram with a tail call: from there on it is refused.
pub const BEFORE_TAIL_CALL: u32 = 256;
/// MAX_CALL_FRAMES.
pub const FRAMES_MAX: usize = 8;
/// Most chains that are looked at.
const CHAINS_MAX: usize = 4096;

/// One chain of calls, from the program itself or from a callback that runs on a stack of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// The subprograms, by their number.
    pub path: Vec<usize>,
    /// Their frames together, each rounded up as the JIT wants it.
    pub bytes: u32,
    /// The same as interpreters, and kernels before 6.9, round.
    pub before_6_9: u32,
}

impl Chain {
    /// Whether it comes back to a function that it was in.
    pub fn is_recursive(&self) -> bool {
        self.path.split_last().is_some_and(|(last, before)| before.contains(last))
    }
}

/// The calls of a program.
#[derive(Debug)]
pub struct Calls {
    /// By subprogram, whom it calls or hands to a helper, each once.
    edges: Vec<Vec<usize>>,
    /// By subprogram, whether it jumps to another program.
    pub tail_calls: Vec<bool>,
}

/// A frame as check_max_stack_depth() counts it when the JIT is asked for (since 6.9), and otherwise.
const fn frame(depth: u32) -> (u32, u32) {
    (depth.next_multiple_of(16), if depth == 0 { 32 } else { depth.next_multiple_of(32) })
}

/// Where the subprograms of a linked program begin: where it is called to, or where a callback is taken from.
pub fn starts(code: &[bpf_insn]) -> Vec<usize> {
    let mut starts = vec![0];
    starts
        .extend(code.iter().enumerate().filter_map(|(at, insn)| callee(at, insn)).filter(|start| *start < code.len()));
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// The first instruction of the subprogram that an instruction calls or names.
fn callee(at: usize, insn: &bpf_insn) -> Option<usize> {
    match (insn.code, insn.src_reg()) {
        (0x85, 1) | (0x18, 4) => usize::try_from(at as i64 + 1 + i64::from(insn.imm)).ok(),
        _ => None,
    }
}

impl Calls {
    /// Looks at every instruction, reached or not, as the kernel does. `later`: subprograms that run on their own stack.
    pub fn of(code: &[bpf_insn], subprograms: &[Subprogram], later: &[usize]) -> Self {
        let mut calls = Self { edges: Vec::new(), tail_calls: Vec::new() };
        for subprogram in subprograms {
            let own = code.iter().enumerate().take(subprogram.end).skip(subprogram.start);
            let (mut edges, mut tail_call) = (Vec::new(), false);
            for (at, insn) in own {
                tail_call |= insn.code == 0x85 && insn.src_reg() == 0 && insn.imm == 12;
                let Some(start) = callee(at, insn) else { continue };
                let Some(to) = subprograms.iter().position(|subprogram| subprogram.start == start) else { continue };
                let is_call = insn.code == 0x85;
                if !edges.contains(&to) && (is_call || !later.contains(&to)) {
                    edges.push(to);
                }
            }
            calls.edges.push(edges);
            calls.tail_calls.push(tail_call);
        }
        calls
    }

    /// Every chain of calls, from the program and from each subprogram that runs later; the deepest first.
    pub fn chains(&self, depths: &[u32], later: &[usize]) -> Vec<Chain> {
        let mut found = Vec::new();
        for root in [0].iter().chain(later) {
            let start = Chain { path: Vec::new(), bytes: 0, before_6_9: 0 };
            self.follow(start, *root, depths, &mut found);
        }
        found
    }

    fn follow(&self, mut chain: Chain, to: usize, depths: &[u32], found: &mut Vec<Chain>) {
        if found.len() >= CHAINS_MAX {
            return;
        }
        let again = chain.path.contains(&to);
        let (bytes, before_6_9) = frame(depths.get(to).copied().unwrap_or(0));
        chain.path.push(to);
        chain.bytes += bytes;
        chain.before_6_9 += before_6_9;
        // No kernel takes either, however it goes on.
        let ends = again || chain.path.len() > 2 * FRAMES_MAX;
        let callees = self.edges.get(to).filter(|_| !ends).map(Vec::as_slice).unwrap_or_default();
        for callee in callees {
            self.follow(chain.clone(), *callee, depths, found);
        }
        if callees.is_empty() {
            let place = found.partition_point(|deeper| deeper.bytes >= chain.bytes);
            found.insert(place, chain);
        }
    }

    /// The first chain to a subprogram with a tail call whose frames before it are too deep, and their bytes.
    pub fn too_deep_for_tail_call(&self, chains: &[Chain], depths: &[u32]) -> Option<(Vec<usize>, u32)> {
        for chain in chains {
            let mut before = 0;
            for (nth, subprogram) in chain.path.iter().enumerate() {
                if nth > 0 && self.tail_calls.get(*subprogram) == Some(&true) && before >= BEFORE_TAIL_CALL {
                    return Some((chain.path.get(..=nth).unwrap_or_default().to_vec(), before));
                }
                before += frame(depths.get(*subprogram).copied().unwrap_or(0)).0;
            }
        }
        None
    }
}
