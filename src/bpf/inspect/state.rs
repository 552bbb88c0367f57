//! What is known at one place of a program: what registers and slots of the stack hold, and where it goes on.

use aya_obj::generated::bpf_insn;

use super::value::Value::{self, Any, Stack};

/// Slots of a frame, by their distance from its top.
pub type Slots = Vec<(i64, Value)>;

/// Registers, and the slots of the frame that the program is in.
#[derive(Clone, PartialEq)]
pub struct State {
    pub registers: [Value; 11],
    pub slots: Slots,
}

/// Where a walk goes on.
pub enum Next {
    At(usize),
    Either(usize, Box<State>),
    End,
}

/// Where a jump goes, of classes BPF_JMP and BPF_JMP32.
pub fn target(at: usize, insn: &bpf_insn) -> Option<usize> {
    let by = match (insn.code & 7, insn.code & 0xf0) {
        (5, 0x80 | 0x90) => return None,
        (6, 0) => i64::from(insn.imm),
        (5 | 6, _) => i64::from(insn.off),
        _ => return None,
    };
    usize::try_from(at as i64 + 1 + by).ok()
}

/// Bytes of an access.
pub const fn width(code: u8) -> i64 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

impl State {
    pub fn get(&self, register: u8) -> Value {
        self.registers.get(usize::from(register)).copied().unwrap_or(Any)
    }

    pub fn set(&mut self, register: u8, value: Value) {
        // The frame pointer is nobody's to write.
        if register < 10
            && let Some(place) = self.registers.get_mut(usize::from(register))
        {
            *place = value;
        }
    }

    /// Whether whatever is found out from here holds from `other`, too.
    pub fn covers(&self, other: &Self) -> bool {
        let slot = |slots: &Slots, at: i64| slots.iter().find(|(slot, _)| *slot == at).map_or(Any, |(_, value)| *value);
        let registers = self.registers.iter().zip(&other.registers).all(|(mine, theirs)| mine.covers(*theirs));
        registers
            && self.slots.iter().all(|(at, mine)| mine.covers(slot(&other.slots, *at)))
            && other.slots.iter().all(|(at, theirs)| slot(&self.slots, *at).covers(*theirs))
    }

    /// Takes in another state at the same place; whether that taught anything.
    pub fn join(&mut self, other: &Self, widen: bool) -> bool {
        let mut new = self.clone();
        for (is, other) in new.registers.iter_mut().zip(&other.registers) {
            *is = is.join(*other, widen);
        }
        let find = |slots: &Slots, at: i64| slots.iter().find(|(slot, _)| *slot == at).map(|(_, value)| *value);
        new.slots.retain_mut(|(at, value)| {
            match find(&other.slots, *at) {
                Some(other) => *value = value.join(other, widen),
                None if matches!(value, Stack(..)) => {}
                None => return false,
            }
            true
        });
        let only =
            other.slots.iter().filter(|(at, value)| matches!(value, Stack(..)) && find(&self.slots, *at).is_none());
        new.slots.extend(only);
        let learnt = new != *self;
        *self = new;
        learnt
    }

    /// Somebody else wrote from there on. What lies below is not theirs.
    pub fn forget(&mut self, low: i64) {
        self.slots.retain(|(at, _)| *at < low);
    }
}
