//! One step of the walk: what registers are known to hold, and where the next instruction is.

use aya_obj::generated::bpf_insn;

use super::Constants;

/// The class of an instruction, in its code.
pub const CLASS: u8 = 0x07;
/// How a load or a store finds its memory.
pub const MODE: u8 = 0xe0;
/// BPF_ATOMIC.
pub const ATOMIC: u8 = 0xc0;
/// BPF_MEMSX.
pub const SIGNED: u8 = 0x80;
/// BPF_JMP | BPF_CALL.
pub const CALL: u8 = 0x85;
/// BPF_LD | BPF_DW | BPF_IMM: the one of two halves.
pub const LOAD_IMM: u8 = 0x18;
/// BPF_JMP32 | BPF_JA.
pub const GOTO_LONG: u8 = 0x06;
/// BPF_JMP | BPF_JCOND.
pub const MAY_GOTO: u8 = 0xe5;
const GOTO: u8 = 0x05;
const EXIT: u8 = 0x95;
/// BPF_X: the operand is a register.
const REGISTER: u8 = 0x08;

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Value {
    #[default]
    Unknown,
    Number(u64),
    /// A place in a map of globals.
    Place(i32, u64),
}

/// What all registers hold, wherever the program comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State([Value; 10]);

impl State {
    /// What is known on both ways.
    pub fn meet(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (mine, theirs) in both.0.iter_mut().zip(&other.0) {
            if mine != theirs {
                *mine = Value::Unknown;
            }
        }
        both
    }

    fn get(&self, register: u8) -> Value {
        self.0.get(usize::from(register)).copied().unwrap_or_default()
    }

    fn put(&mut self, register: u8, value: Value) {
        if let Some(place) = self.0.get_mut(usize::from(register)) {
            *place = value;
        }
    }
}

/// Where it goes on.
pub enum Next {
    /// There.
    At(usize),
    /// There, or elsewhere with other knowledge.
    Either(usize, (usize, State)),
    /// Nowhere.
    End,
}

/// Where a jump leads; `None` for what is no jump.
pub fn target(at: usize, insn: &bpf_insn) -> Option<usize> {
    let offset = match insn.code {
        CALL | EXIT => return None,
        GOTO_LONG => insn.imm as isize,
        code if matches!(code & CLASS, 5 | 6) => insn.off.into(),
        _ => return None,
    };
    (at + 1).checked_add_signed(offset)
}

/// Takes the step.
pub fn next(code: &[bpf_insn], at: usize, state: &mut State, constants: &Constants<'_>) -> Next {
    let Some(insn) = code.get(at) else { return Next::End };
    let ahead = at + 1;
    match (insn.code, insn.code & CLASS) {
        (EXIT, _) => return Next::End,
        (GOTO | GOTO_LONG, _) => return target(at, insn).map_or(Next::End, Next::At),
        (CALL, _) => (0..=5).for_each(|register| state.put(register, Value::Unknown)),
        (LOAD_IMM, _) => {
            let high = code.get(ahead).map_or(0, |half| half.imm as u32);
            let value = match insn.src_reg() {
                0 => Value::Number(u64::from(high) << 32 | u64::from(insn.imm as u32)),
                2 => Value::Place(insn.imm, high.into()),
                _ => Value::Unknown,
            };
            state.put(insn.dst_reg(), value);
            return Next::At(ahead + 1);
        }
        (_, 5 | 6) => {
            let Some(there) = target(at, insn) else { return Next::At(ahead) };
            return match decide(insn, state) {
                Some(true) => Next::At(there),
                Some(false) => Next::At(ahead),
                None => {
                    let mut jumped = state.clone();
                    learn(insn, state, &mut jumped);
                    Next::Either(ahead, (there, jumped))
                }
            };
        }
        (_, 1) => {
            let size = size(insn.code);
            let loaded = match state.get(insn.src_reg()) {
                Value::Place(map, offset) if insn.code & MODE == 0x60 => {
                    constants(map, offset.wrapping_add_signed(insn.off.into()), size)
                }
                _ => None,
            };
            state.put(insn.dst_reg(), loaded.map_or(Value::Unknown, Value::Number));
        }
        // What an atomic operation fetches.
        (_, 3) if insn.code & MODE == ATOMIC => {
            state.put(insn.src_reg(), Value::Unknown);
            state.put(0, Value::Unknown);
        }
        (_, 0) => (0..=5).for_each(|register| state.put(register, Value::Unknown)),
        (_, 4 | 7) => compute(insn, state),
        _ => {}
    }
    Next::At(ahead)
}

fn size(code: u8) -> usize {
    match code & 0x18 {
        0x10 => 1,
        0x08 => 2,
        0x00 => 4,
        _ => 8,
    }
}

fn operand(insn: &bpf_insn, state: &State) -> Value {
    match insn.code & REGISTER {
        0 => Value::Number(i64::from(insn.imm) as u64),
        _ => state.get(insn.src_reg()),
    }
}

fn compute(insn: &bpf_insn, state: &mut State) {
    let wide = insn.code & CLASS == 7;
    let (left, right) = (state.get(insn.dst_reg()), operand(insn, state));
    let value = match (insn.code & 0xf0, left, right) {
        _ if insn.off != 0 => Value::Unknown,
        (0xb0, _, Value::Number(right)) => Value::Number(right),
        (0xb0, _, place) if wide => place,
        (0x00, Value::Place(map, offset), Value::Number(right)) if wide => {
            Value::Place(map, offset.wrapping_add(right))
        }
        (operation, Value::Number(left), Value::Number(right)) => {
            let shift = (right & if wide { 63 } else { 31 }) as u32;
            let left = if wide { left } else { left & u64::from(u32::MAX) };
            match operation {
                0x00 => Value::Number(left.wrapping_add(right)),
                0x10 => Value::Number(left.wrapping_sub(right)),
                0x20 => Value::Number(left.wrapping_mul(right)),
                0x40 => Value::Number(left | right),
                0x50 => Value::Number(left & right),
                0x60 => Value::Number(left << shift),
                0x70 => Value::Number(left >> shift),
                0xa0 => Value::Number(left ^ right),
                0xc0 if wide => Value::Number((left as i64 >> shift) as u64),
                0xc0 => Value::Number((left as i32 >> shift) as u64),
                _ => Value::Unknown,
            }
        }
        _ => Value::Unknown,
    };
    let value = match value {
        Value::Number(number) if !wide => Value::Number(number & u64::from(u32::MAX)),
        value => value,
    };
    state.put(insn.dst_reg(), value);
}

/// Whether a conditional jump is taken, where that is known.
fn decide(insn: &bpf_insn, state: &State) -> Option<bool> {
    let (Value::Number(left), Value::Number(right)) = (state.get(insn.dst_reg()), operand(insn, state)) else {
        return None;
    };
    let ((left, right), (signed, than)) = match insn.code & CLASS {
        6 => ((u64::from(left as u32), u64::from(right as u32)), (i64::from(left as i32), i64::from(right as i32))),
        _ => ((left, right), (left as i64, right as i64)),
    };
    Some(match insn.code & 0xf0 {
        0x10 => left == right,
        0x20 => left > right,
        0x30 => left >= right,
        0x40 => left & right != 0,
        0x50 => left != right,
        0x60 => signed > than,
        0x70 => signed >= than,
        0xa0 => left < right,
        0xb0 => left <= right,
        0xc0 => signed < than,
        0xd0 => signed <= than,
        _ => return None,
    })
}

/// A comparison with a number tells what was compared, on one of the two ways.
fn learn(insn: &bpf_insn, ahead: &mut State, jumped: &mut State) {
    let (Value::Number(number), 5) = (operand(insn, ahead), insn.code & CLASS) else { return };
    match insn.code & 0xf0 {
        0x10 => jumped.put(insn.dst_reg(), Value::Number(number)),
        0x50 => ahead.put(insn.dst_reg(), Value::Number(number)),
        _ => {}
    }
}
