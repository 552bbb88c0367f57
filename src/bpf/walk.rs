//! A walk through the instructions of one program: what it calls and which maps it uses, where it can get to.
//!
//! Constants are followed as the verifier follows them, so that a helper behind `if (LINUX_KERNEL_VERSION < …)`, or
//! behind a field that this kernel lacks, does not count (`is_branch_taken()` in kernel/bpf/verifier.c).

mod step;

use aya_obj::generated::bpf_insn;
use step::{Next, State, next};

/// One use of something that is not the program's own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Use {
    /// A helper, by its number.
    Helper(u32),
    /// A function of the kernel, by its BTF id, and 1 where it is one of a module.
    KernelFunction(u32, u16),
    /// A function of the program's own, by the index of its first instruction.
    Function(usize),
    /// The same, handed to a helper.
    Callback(usize),
    /// A map, by the descriptor in the instruction.
    Map(i32),
    /// A variable in the map of globals with this descriptor.
    Global(i32),
    /// A variable of the kernel, by its BTF id.
    KernelVariable(u32),
}

/// Forms of instruction that not every kernel takes: `super::since::form` says since when.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "since::form words them")]
pub enum Form {
    Functions,
    Jumps32,
    Globals,
    Many,
    Loops,
    KernelSymbols,
    TailCallsAndFunctions,
    Atomics,
    Callbacks,
    KernelFunctions,
    Version4,
    MayGoto,
    AddressSpaces,
    LoadAcquire,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Walk {
    /// Each use, with the index of its instruction, in their order.
    pub uses: Vec<(usize, Use)>,
    /// The forms of the instructions that are reached, each once.
    pub forms: Vec<Form>,
    /// Which instructions can be reached.
    pub reached: Vec<bool>,
}

/// `BPF_FUNC_tail_call`.
pub const TAIL_CALL: u32 = 12;
/// BPF_MAXINSNS of include/uapi/linux/bpf_common.h.
const MANY: usize = 4096;

/// Reads `size` bytes at an offset of a map of constants, by its descriptor; `None` when they can change.
pub type Constants<'a> = dyn Fn(i32, u64, usize) -> Option<u64> + 'a;

impl Walk {
    /// Walks a program that is linked with the functions it calls, from its first instruction.
    pub fn of(code: &[bpf_insn], constants: &Constants<'_>) -> Self {
        let mut walk = Self { reached: vec![false; code.len()], ..Self::default() };
        // What is known where ways meet, and which instructions those are.
        let (mut known, mut joins) = (Vec::new(), vec![None; code.len()]);
        for (at, insn) in code.iter().enumerate() {
            for target in [step::target(at, insn), function(at, insn)].into_iter().flatten() {
                if let Some(join @ None) = joins.get_mut(target) {
                    *join = Some(known.len());
                    known.push(None);
                }
            }
        }
        let mut ways = vec![(0, State::default())];
        while let Some((mut at, mut state)) = ways.pop() {
            while let Some(insn) = code.get(at) {
                let join = joins.get(at).copied().flatten();
                if let Some(place) = join.and_then(|join| known.get_mut(join)) {
                    if let Some(before) = &*place {
                        state = State::meet(before, &state);
                        if state == *before {
                            break;
                        }
                    }
                    *place = Some(state.clone());
                }
                walk.reached.get_mut(at).into_iter().for_each(|reached| *reached = true);
                if let Some(function) = function(at, insn) {
                    ways.push((function, State::default()));
                }
                match next(code, at, &mut state, constants) {
                    Next::At(next) => at = next,
                    Next::Either(next, other) => {
                        ways.push(other);
                        at = next;
                    }
                    Next::End => break,
                }
            }
        }
        for (at, insn) in code.iter().enumerate() {
            if walk.reached.get(at) == Some(&true) {
                walk.note(at, insn);
            }
        }
        walk.sum_up(code.len());
        walk
    }

    /// The helpers, each once.
    pub fn helpers(&self) -> Vec<u32> {
        let helper = |(_, used): &(usize, Use)| if let Use::Helper(id) = used { Some(*id) } else { None };
        let mut helpers: Vec<u32> = self.uses.iter().filter_map(helper).collect();
        helpers.sort_unstable();
        helpers.dedup();
        helpers
    }

    /// The descriptors of the maps, each once, those of globals among them.
    pub fn maps(&self) -> Vec<i32> {
        let map = |(_, used): &(usize, Use)| match used {
            Use::Map(fd) | Use::Global(fd) => Some(*fd),
            _ => None,
        };
        let mut maps: Vec<i32> = self.uses.iter().filter_map(map).collect();
        maps.sort_unstable();
        maps.dedup();
        maps
    }

    /// The kernel's functions by their BTF ids, each once; the second is 0 for those of the kernel itself.
    pub fn kernel_functions(&self) -> Vec<(u32, u16)> {
        let function = |(_, used): &(usize, Use)| match used {
            Use::KernelFunction(id, of) => Some((*id, *of)),
            _ => None,
        };
        let mut functions: Vec<_> = self.uses.iter().filter_map(function).collect();
        functions.sort_unstable();
        functions.dedup();
        functions
    }

    fn has(&mut self, form: Form) {
        if !self.forms.contains(&form) {
            self.forms.push(form);
        }
    }

    /// Takes note of an instruction.
    fn note(&mut self, at: usize, insn: &bpf_insn) {
        use step::{ATOMIC, CALL, CLASS, LOAD_IMM, MAY_GOTO};
        let (source, imm) = (insn.src_reg(), insn.imm);
        let used = match (insn.code, source) {
            (CALL, 0) => Some(Use::Helper(imm as u32)),
            (CALL, 1) => function(at, insn).map(Use::Function),
            (CALL, 2) => Some(Use::KernelFunction(imm as u32, insn.off as u16)),
            (LOAD_IMM, 1) => Some(Use::Map(imm)),
            (LOAD_IMM, 2) => Some(Use::Global(imm)),
            (LOAD_IMM, 3) => Some(Use::KernelVariable(imm as u32)),
            (LOAD_IMM, 4) => function(at, insn).map(Use::Callback),
            _ => None,
        };
        match used {
            Some(Use::KernelFunction(..)) => self.has(Form::KernelFunctions),
            Some(Use::Function(_)) => self.has(Form::Functions),
            Some(Use::Callback(_)) => self.has(Form::Callbacks),
            Some(Use::Global(_)) => self.has(Form::Globals),
            Some(Use::KernelVariable(_)) => self.has(Form::KernelSymbols),
            _ => {}
        }
        self.uses.extend(used.map(|used| (at, used)));
        if step::target(at, insn).is_some_and(|target| target <= at) {
            self.has(Form::Loops);
        }
        match (insn.code & CLASS, insn.code) {
            (6, step::GOTO_LONG) => self.has(Form::Version4),
            (6, _) => self.has(Form::Jumps32),
            (_, MAY_GOTO) => self.has(Form::MayGoto),
            (3, code) if code & step::MODE == ATOMIC => match imm {
                0 => {}
                0x100 | 0x110 => self.has(Form::LoadAcquire),
                _ => self.has(Form::Atomics),
            },
            (1, code) if code & step::MODE == step::SIGNED => self.has(Form::Version4),
            // addr_space_cast is a 64-bit move with this offset.
            (7, 0xbf) if insn.off == 1 => self.has(Form::AddressSpaces),
            // bswap; sign-extending moves, signed division and remainder have an offset.
            (7, 0xd7) => self.has(Form::Version4),
            (4 | 7, _) if insn.off != 0 => self.has(Form::Version4),
            _ => {}
        }
    }

    fn sum_up(&mut self, length: usize) {
        if length > MANY {
            self.has(Form::Many);
        }
        let jumps = self.uses.iter().any(|(_, used)| *used == Use::Helper(TAIL_CALL));
        if jumps && self.forms.contains(&Form::Functions) {
            self.has(Form::TailCallsAndFunctions);
        }
    }
}

/// The first instruction of the function that an instruction calls, or hands to a helper.
fn function(at: usize, insn: &bpf_insn) -> Option<usize> {
    match (insn.code, insn.src_reg()) {
        (step::CALL, 1) | (step::LOAD_IMM, 4) => (at + 1).checked_add_signed(insn.imm as isize),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
