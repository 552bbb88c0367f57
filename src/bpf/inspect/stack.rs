//! How deep each subprogram's stack gets, as the verifier finds it: by following what points into the stack through the
//! instructions that can be reached. A subprogram is walked again for each call, since what it is given decides whose
//! stack it touches; where ways meet, what each can hold is joined.
//!
//! The depth of a frame is the deepest place that is read or written, in eights (grow_stack_state() in
//! kernel/bpf/verifier.c), through whatever pointer, a helper's or another subprogram's too.

use aya_obj::generated::bpf_insn;

use super::{
    super::walk::Constants,
    calls::FRAMES_MAX,
    fastcall::{self, Saved},
    state::{Next, Slots, State, target, width},
    value::{
        Value::{self, Any, Function, Global, Map, Stack},
        branch,
    },
};

/// Instructions walked before it is given up to be exact. Memory is not given back, and the verifier's own million would
/// take too much of it.
const STEPS_MAX: usize = 400_000;
/// Instructions walked before ways are joined wherever they meet.
const STEPS_APART: usize = STEPS_MAX / 2;
/// States that are kept apart at one place, as the verifier does: a loop over each byte of a stack takes so many.
const APART: usize = 520;
/// Joins at one place after which bounds that still move go as far as they can.
const WIDEN_AFTER: u32 = 4;
/// Joins at one place after which nothing more is learnt there.
const JOINS_MAX: u32 = 64;
/// What the depth of an access is taken for at most.
const DEPTH_MAX: i64 = 1 << 20;

/// A subprogram: from its first instruction to the one behind its last.
#[derive(Clone, Debug)]
pub struct Subprogram {
    pub start: usize,
    pub end: usize,
    /// The verifier looks at it alone, and not once for each call; with how many arguments it takes.
    pub global: Option<usize>,
}

/// A jump to another program, as it was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TailCall {
    /// The map of programs, by its number.
    pub map: Option<i32>,
    /// The indices it can jump to, the first and the last.
    pub indices: (i64, i64),
}

/// What was found of a program.
#[derive(Debug, Default)]
pub struct Found {
    /// Bytes of stack by subprogram; `None`: it is never reached.
    pub depths: Vec<Option<u32>>,
    /// Subprograms that the verifier writes a loop into, in place of a call of bpf_loop().
    pub loops: Vec<usize>,
    /// Subprograms that run later, on a stack of their own.
    pub later: Vec<usize>,
    /// Its jumps to others.
    pub tail_calls: Vec<TailCall>,
    /// Something was too much, or too vague, to be followed: depths may be greater.
    pub vague: bool,
}

/// A walk through a program.
pub struct Walk<'a> {
    pub code: &'a [bpf_insn],
    pub subprograms: &'a [Subprogram],
    pub constants: &'a Constants<'a>,
}

pub(super) struct Walker<'a> {
    pub(super) walk: &'a Walk<'a>,
    /// Where ways can meet.
    meets: Vec<bool>,
    pub(super) found: Found,
    /// By instruction, whether it saves a register around a call; by subprogram, what that comes to.
    saves: (Vec<bool>, Vec<Saved>),
    /// The subprograms that are walked through, each called by the one before it.
    within: Vec<usize>,
    /// The instruction that is looked at.
    at: usize,
    /// What calls without pointers into a stack gave back.
    known: Vec<(usize, [Value; 5], Value)>,
    steps: usize,
}

/// What has been known at a place where ways meet.
#[derive(Clone, Default)]
struct Place {
    apart: Vec<State>,
    joined: Option<Box<State>>,
    joins: u32,
}

impl Place {
    /// A way comes here; whether it leads to anything new. Too many ways become one, which then goes on as all of them.
    fn reach(&mut self, state: &mut State, apart: bool) -> bool {
        if self.apart.iter().chain(self.joined.as_deref()).any(|known| known.covers(state)) {
            return false;
        }
        if self.joined.is_none() && apart && self.apart.len() < APART {
            self.apart.push(state.clone());
            return true;
        }
        let joined = self.joined.get_or_insert_with(|| Box::new(self.apart.first().unwrap_or(state).clone()));
        self.joins += 1;
        if self.joins > JOINS_MAX || !joined.join(state, self.joins > WIDEN_AFTER) {
            return self.joins == 1;
        }
        state.clone_from(joined);
        true
    }
}

impl Walk<'_> {
    /// Walks it.
    pub fn all(&self) -> Found {
        let mut meets = vec![false; self.code.len()];
        for (at, insn) in self.code.iter().enumerate() {
            let to = target(at, insn).and_then(|to| meets.get_mut(to));
            to.into_iter().for_each(|meets| *meets = true);
        }
        let found = Found { depths: vec![None; self.subprograms.len()], ..Found::default() };
        let saves = fastcall::find(self.code, self.subprograms);
        let mut walker =
            Walker { walk: self, meets, found, saves, within: Vec::new(), at: 0, known: Vec::new(), steps: 0 };
        walker.run(0, [Any; 5], &mut Vec::new());
        for (depth, saved) in walker.found.depths.iter_mut().zip(&walker.saves.1) {
            *depth = depth.map(|depth| saved.left(depth));
        }
        walker.found
    }
}

impl Walker<'_> {
    pub(super) fn run(&mut self, number: usize, given: [Value; 5], frames: &mut Vec<(usize, Slots)>) -> Value {
        let alone = !given.iter().any(|value| matches!(value, Stack(..)));
        if let Some((.., back)) = self.known.iter().find(|(is, with, _)| alone && *is == number && *with == given) {
            return *back;
        }
        // A program that calls itself is refused before the verifier looks at its stack, and one that calls too deep is,
        // too; a timer that sets itself again was walked into already.
        if self.within.len() > 2 * FRAMES_MAX || self.within.contains(&number) {
            return Any;
        }
        self.within.push(number);
        let back = self.run_new(number, given, frames);
        self.within.pop();
        if let (true, Some(back)) = (alone, back) {
            self.known.push((number, given, back));
        }
        back.unwrap_or(Any)
    }

    fn run_new(&mut self, number: usize, given: [Value; 5], frames: &mut Vec<(usize, Slots)>) -> Option<Value> {
        let subprogram = self.walk.subprograms.get(number)?;
        if let Some(depth) = self.found.depths.get_mut(number) {
            depth.get_or_insert(0);
        }
        let mut entry = State { registers: [Any; 11], slots: Vec::new() };
        entry.registers.iter_mut().skip(1).zip(given).for_each(|(register, value)| *register = value);
        entry.registers.iter_mut().skip(10).for_each(|register| *register = Stack(number, 0, 0));
        let mut places: Vec<Place> = vec![Place::default(); subprogram.end - subprogram.start];
        let (mut waiting, mut back) = (vec![(subprogram.start, entry)], None::<Value>);
        while let Some((mut at, mut state)) = waiting.pop() {
            let inside = |at: &usize| (subprogram.start..subprogram.end).contains(at);
            while let Some(insn) = Some(at).filter(inside).and_then(|at| self.walk.code.get(at)) {
                let apart = self.steps < STEPS_APART;
                if self.meets.get(at) == Some(&true)
                    && let Some(place) = places.get_mut(at - subprogram.start)
                    && !place.reach(&mut state, apart)
                {
                    break;
                }
                self.steps += 1;
                if self.steps > STEPS_MAX {
                    self.found.vague = true;
                    return None;
                }
                self.at = at;
                match self.step(&mut state, number, at, insn, frames) {
                    Next::At(next) => at = next,
                    Next::Either(other, with) => {
                        waiting.push((other, *with));
                        at += 1;
                    }
                    Next::End => {
                        let result = state.get(0);
                        back = Some(back.map_or(result, |back| back.join(result, false)));
                        break;
                    }
                }
            }
        }
        let back = back.unwrap_or(Any);
        // What points into the frame that ends is of no use.
        Some(if matches!(back, Stack(frame, ..) if frame == number) { Any } else { back })
    }

    fn step(
        &mut self,
        state: &mut State,
        number: usize,
        at: usize,
        insn: &bpf_insn,
        frames: &mut Vec<(usize, Slots)>,
    ) -> Next {
        let (code, class, dst, src) = (insn.code, insn.code & 7, insn.dst_reg(), insn.src_reg());
        let off = i64::from(insn.off);
        let operand = if code & 8 == 0 { Value::constant(insn.imm.into()) } else { state.get(src) };
        match class {
            0 if code == 0x18 => {
                state.set(dst, self.wide_constant(at, insn, src));
                return Next::At(at + 2);
            }
            // BPF_LD_ABS and BPF_LD_IND: a call in disguise.
            0 => {
                (1..=5).for_each(|register| state.set(register, Any));
                state.set(0, Value::of_bytes(width(code)));
            }
            1 => {
                let value = self.load(state, number, state.get(src), off, code, frames);
                state.set(dst, value);
            }
            2 => self.store(state, number, state.get(dst), off, width(code), Value::constant(insn.imm.into())),
            3 if code & 0xe0 == 0xc0 => {
                // BPF_LOAD_ACQ reads what its source points to.
                let pointer = if insn.imm == 0x100 { src } else { dst };
                self.store(state, number, state.get(pointer), off, width(code), Any);
                match insn.imm {
                    0x100 => state.set(dst, Any),
                    0xf1 => state.set(0, Any),
                    imm if imm & 1 != 0 => state.set(src, Any),
                    _ => {}
                }
            }
            3 => self.store(state, number, state.get(dst), off, width(code), state.get(src)),
            4 | 7 if code & 0xf0 == 0xd0 => state.set(dst, Value::of_bytes(i64::from(insn.imm / 8))),
            4 | 7 => {
                let value = state.get(dst).compute(code, operand, class == 7, insn.off);
                state.set(dst, value);
            }
            _ => return self.jump(state, number, at, insn, operand, frames),
        }
        Next::At(at + 1)
    }

    fn jump(
        &mut self,
        state: &mut State,
        number: usize,
        at: usize,
        insn: &bpf_insn,
        operand: Value,
        frames: &mut Vec<(usize, Slots)>,
    ) -> Next {
        let (class, dst) = (insn.code & 7, insn.dst_reg());
        match insn.code & 0xf0 {
            0x80 if class == 5 => self.call(state, number, at, insn, frames),
            0x90 if class == 5 => return Next::End,
            0x00 => return target(at, insn).map_or(Next::End, Next::At),
            operation => {
                let Some(to) = target(at, insn) else { return Next::End };
                let (taken, then, not) = match operation {
                    // may_goto.
                    0xe0 => (None, state.get(dst), state.get(dst)),
                    _ => branch(insn.code, state.get(dst), operand, class == 5),
                };
                if taken == Some(true) {
                    state.set(dst, then);
                    return Next::At(to);
                }
                if taken.is_none() {
                    let mut other = Box::new(state.clone());
                    other.set(dst, then);
                    state.set(dst, not);
                    return Next::Either(to, other);
                }
                state.set(dst, not);
            }
        }
        Next::At(at + 1)
    }

    fn wide_constant(&self, at: usize, insn: &bpf_insn, src: u8) -> Value {
        let high = self.walk.code.get(at + 1).map_or(0, |next| next.imm);
        match src {
            0 => Value::constant(i64::from(high) << 32 | i64::from(insn.imm as u32)),
            1 => Map(insn.imm),
            2 => Global(insn.imm, Some(high.into())),
            4 => self.subprogram_at(at, insn).map_or(Any, Function),
            _ => Any,
        }
    }

    pub(super) fn subprogram_at(&self, at: usize, insn: &bpf_insn) -> Option<usize> {
        let start = at as i64 + 1 + i64::from(insn.imm);
        self.walk.subprograms.iter().position(|subprogram| subprogram.start as i64 == start)
    }

    fn load(
        &mut self,
        state: &State,
        number: usize,
        pointer: Value,
        off: i64,
        code: u8,
        frames: &[(usize, Slots)],
    ) -> Value {
        self.touch(pointer, off);
        let (bytes, signed) = (width(code), code & 0xe0 == 0x80);
        let slot = match pointer {
            Stack(frame, low, high) if low == high && bytes == 8 => {
                let slots = match frame == number {
                    true => Some(&state.slots),
                    false => frames.iter().find(|(is, _)| *is == frame).map(|(_, slots)| slots),
                };
                slots.and_then(|slots| slots.iter().find(|(at, _)| *at == low + off)).map(|(_, value)| *value)
            }
            Global(map, Some(at)) if !signed => {
                let number = (self.walk.constants)(map, at.wrapping_add(off) as u64, bytes as usize);
                number.map(|number| Value::constant(number as i64))
            }
            _ => None,
        };
        slot.unwrap_or(if signed { Any } else { Value::of_bytes(bytes) })
    }

    fn store(&mut self, state: &mut State, number: usize, pointer: Value, off: i64, bytes: i64, value: Value) {
        self.touch(pointer, off);
        match pointer {
            Stack(frame, low, high) if frame == number && low == high => {
                let at = low + off;
                state.slots.retain(|(slot, _)| slot + 8 <= at || at + bytes <= *slot);
                if bytes == 8 && value != Any {
                    state.slots.push((at, value));
                }
            }
            Stack(frame, low, _) if frame == number => state.forget(low + off),
            _ => {}
        }
    }

    /// Takes note of an access.
    pub(super) fn touch(&mut self, pointer: Value, off: i64) {
        let Stack(frame, low, _) = pointer else { return };
        let depth = -(low + off);
        if self.saves.0.get(self.at) != Some(&true)
            && let Some(saved) = self.saves.1.get_mut(frame)
        {
            saved.touch(-depth);
        }
        if depth > DEPTH_MAX {
            self.found.vague = true;
        } else if let Some(Some(known)) = self.found.depths.get_mut(frame) {
            *known = (*known).max((depth.max(0) as u32).next_multiple_of(8));
        }
    }
}
