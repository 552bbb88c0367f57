//! Registers that a compiler saves around a call, and that the kernel knows to be safe: since 6.12 it takes out both the
//! saving and the stack for it (bpf_fastcall; mark_fastcall_patterns() in kernel/bpf/verifier.c).

use aya_obj::generated::bpf_insn;

use super::{helpers, stack::Subprogram};

/// `*(u64 *)(r10 + off) = rX`
const SPILL: u8 = 0x7b;
/// `rX = *(u64 *)(r10 + off)`
const FILL: u8 = 0x79;
const CALL: u8 = 0x85;
/// `bpf_get_smp_processor_id`, the only helper that the kernel writes in line with nothing but r0 changed.
const IN_LINE: i32 = 8;

/// What was found in one subprogram.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// How far from the frame's top all else that is kept ends, if nothing else touches what lies below.
    above: i64,
    /// A call in line is among them.
    modified: bool,
    /// The stack is kept: a call that is not in line saves the same way, or something else touches it.
    keeps: bool,
}

/// By instruction, whether it is one that saves or gets back; and by subprogram, what that comes to.
pub fn find(code: &[bpf_insn], subprograms: &[Subprogram]) -> (Vec<bool>, Vec<Saved>) {
    let mut saves = vec![false; code.len()];
    let mut found = Vec::new();
    for Subprogram { start, end, .. } in subprograms {
        let own = code.get(*start..*end).unwrap_or_default();
        let spills = own.iter().filter(|insn| insn.code == SPILL && insn.dst_reg() == 10);
        let lowest = spills.map(|insn| insn.off.min(0)).min().unwrap_or(0);
        let mut saved = Saved::default();
        for (at, call) in code.iter().enumerate().take(*end).skip(*start) {
            if call.code != CALL || call.src_reg() == 1 {
                continue;
            }
            let pairs = pairs(code, at, call, lowest);
            for by in 1..=pairs {
                for at in [at - by, at + by] {
                    saves.get_mut(at).into_iter().for_each(|saves| *saves = true);
                }
            }
            if pairs > 0 {
                saved.above = saved.above.min(i64::from(lowest) + 8 * pairs as i64);
                match (call.src_reg(), call.imm) {
                    (0, IN_LINE) => saved.modified = true,
                    _ => saved.keeps = true,
                }
            }
        }
        found.push(saved);
    }
    (saves, found)
}

/// How many registers are saved right before a call and got back right behind it, from the lowest place of the stack on.
fn pairs(code: &[bpf_insn], at: usize, call: &bpf_insn, lowest: i16) -> usize {
    let arguments = if call.src_reg() == 0 { helpers::arguments(call.imm) } else { 5 };
    let mut free: u8 = 0x3f & !((1 << (arguments + 1)) - 1);
    for by in 1..=6 {
        let (Some(spill), Some(fill)) = (at.checked_sub(by).and_then(|at| code.get(at)), code.get(at + by)) else {
            return by - 1;
        };
        let off = i32::from(lowest) + 8 * (by as i32 - 1);
        let fits = spill.code == SPILL
            && fill.code == FILL
            && spill.dst_reg() == 10
            && fill.src_reg() == 10
            && spill.src_reg() == fill.dst_reg()
            && spill.src_reg() < 6
            && free >> spill.src_reg() & 1 != 0
            && i32::from(spill.off) == off
            && i32::from(fill.off) == off;
        if !fits {
            return by - 1;
        }
        free &= !(1 << spill.src_reg());
    }
    6
}

impl Saved {
    /// Somebody else touches the frame, so far from its top.
    pub const fn touch(&mut self, at: i64) {
        if at < self.above {
            self.keeps = true;
        }
    }

    /// The depth that is left of one.
    pub const fn left(&self, depth: u32) -> u32 {
        if self.modified && !self.keeps { self.above.unsigned_abs() as u32 } else { depth }
    }
}
