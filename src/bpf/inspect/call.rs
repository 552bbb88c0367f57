//! What a call does to the stack: that of a helper, of a function of the kernel, or of a subprogram.

use aya_obj::generated::bpf_insn;

use super::{
    helpers,
    stack::{TailCall, Walker},
    state::{Slots, State},
    value::Value::{self, Any, Function, Map, Number, Stack},
};

impl Walker<'_> {
    pub(super) fn call(
        &mut self,
        state: &mut State,
        number: usize,
        at: usize,
        insn: &bpf_insn,
        frames: &mut Vec<(usize, Slots)>,
    ) {
        let mut given = [Any; 5];
        given.iter_mut().zip(state.registers.iter().skip(1)).for_each(|(to, from)| *to = *from);
        let mut back = Any;
        let memory = match insn.src_reg() {
            0 => {
                self.help(state, number, insn.imm, &given, frames);
                helpers::memory(insn.imm)
            }
            1 => match self.subprogram_at(at, insn) {
                None => 0,
                Some(callee) => match self.walk.subprograms.get(callee).and_then(|callee| callee.global) {
                    Some(arguments) => {
                        self.run(callee, [Any; 5], &mut Vec::new());
                        (1 << arguments.min(5)) - 1
                    }
                    None => {
                        frames.push((number, state.slots.clone()));
                        back = self.run(callee, given, frames);
                        frames.pop();
                        for low in given.iter().filter_map(|value| lowest(*value, number)) {
                            state.forget(low);
                        }
                        0
                    }
                },
            },
            _ => 0x1f,
        };
        for (_, value) in given.iter().enumerate().filter(|(at, _)| memory >> at & 1 != 0) {
            self.touch(*value, 0);
            lowest(*value, number).into_iter().for_each(|low| state.forget(low));
        }
        (1..=5).for_each(|register| state.set(register, Any));
        state.set(0, back);
    }

    /// What a helper does besides using memory: jumps to another program, or calls a subprogram.
    fn help(
        &mut self,
        state: &mut State,
        number: usize,
        helper: i32,
        given: &[Value; 5],
        frames: &mut Vec<(usize, Slots)>,
    ) {
        const TAIL_CALL: i32 = 12;
        const LOOP: i32 = 181;
        if helper == TAIL_CALL {
            let [_, map, index, ..] = *given;
            let map = if let Map(map) = map { Some(map) } else { None };
            let indices = if let Number(low, high) = index.low_half() { (low, high) } else { (0, u32::MAX.into()) };
            let tail_call = TailCall { map, indices };
            if !self.found.tail_calls.contains(&tail_call) {
                self.found.tail_calls.push(tail_call);
            }
            return;
        }
        let Some((which, context)) = helpers::calls_back(helper) else { return };
        let mut arguments = [Any; 5];
        let Some(Function(callee)) = given.get(which - 1).copied() else { return };
        let Some(context) = context else {
            if !self.found.later.contains(&callee) {
                self.found.later.push(callee);
            }
            self.run(callee, arguments, &mut Vec::new());
            return;
        };
        if helper == LOOP
            && given.get(3).and_then(|flags| flags.exact()) == Some(0)
            && !self.found.loops.contains(&number)
        {
            self.found.loops.push(number);
        }
        if let (Some(to), Some(from)) = (arguments.get_mut(context - 1), given.get(which)) {
            *to = *from;
        }
        frames.push((number, state.slots.clone()));
        self.run(callee, arguments, frames);
        frames.pop();
        given.get(which).and_then(|from| lowest(*from, number)).into_iter().for_each(|low| state.forget(low));
    }
}

/// Where in the frame `number` a pointer begins.
const fn lowest(value: Value, number: usize) -> Option<i64> {
    match value {
        Stack(frame, low, _) if frame == number => Some(low),
        _ => None,
    }
}
