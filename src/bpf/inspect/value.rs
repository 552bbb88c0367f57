//! What a register can hold, as far as it decides how deep the stack gets and which instructions are reached: numbers
//! between two bounds, and pointers into a frame of the stack or into the object's constants.

/// What a register or a slot of the stack holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value {
    /// Any number, or a pointer to something else.
    Any,
    /// A number from the first to the second, as signed 64 bits.
    Number(i64, i64),
    /// A pointer into the frame of a subprogram, and how far from the frame's top: between the two bounds.
    Stack(usize, i64, i64),
    /// A pointer to a map, by its number.
    Map(i32),
    /// A pointer into the value of a map of globals, by its number, and how far in; `None`: not known.
    Global(i32, Option<i64>),
    /// A subprogram, to be called back.
    Function(usize),
}

use Value::{Any, Global, Number, Stack};

/// A bound that is none: what is added to it stays there.
const FAR: i64 = 1 << 29;

/// The operations of BPF_ALU and BPF_ALU64 (include/uapi/linux/bpf.h), as the high four bits of their code.
mod op {
    pub const ADD: u8 = 0x00;
    pub const SUB: u8 = 0x10;
    pub const MUL: u8 = 0x20;
    pub const DIV: u8 = 0x30;
    pub const OR: u8 = 0x40;
    pub const AND: u8 = 0x50;
    pub const LSH: u8 = 0x60;
    pub const RSH: u8 = 0x70;
    pub const NEG: u8 = 0x80;
    pub const MOD: u8 = 0x90;
    pub const XOR: u8 = 0xa0;
    pub const MOV: u8 = 0xb0;
    pub const ARSH: u8 = 0xc0;
}

impl Value {
    /// One number.
    pub const fn constant(number: i64) -> Self {
        Number(number, number)
    }

    /// What that many bytes can hold when they are read.
    pub const fn of_bytes(bytes: i64) -> Self {
        match bytes {
            1 => Number(0, 0xff),
            2 => Number(0, 0xffff),
            4 => Number(0, u32::MAX as i64),
            _ => Any,
        }
    }

    const fn bounds(self) -> (i64, i64) {
        match self {
            Number(low, high) => (low, high),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The one number that it is.
    pub const fn exact(self) -> Option<i64> {
        match self {
            Number(low, high) if low == high => Some(low),
            _ => None,
        }
    }

    /// What it can be when it can be either. Where one is a pointer into the stack, the verifier follows it on a path of
    /// its own: so it stays one. `widen`: bounds that move go as far as they can, so that loops come to an end.
    pub fn join(self, other: Self, widen: bool) -> Self {
        let low = |old: i64, new: i64, most| {
            if new >= old {
                old
            } else if widen {
                most
            } else {
                new
            }
        };
        let high = |old: i64, new: i64, most| {
            if new <= old {
                old
            } else if widen {
                most
            } else {
                new
            }
        };
        match (self, other) {
            (is, other) if is == other => is,
            (Number(a, b), Number(c, d)) => Number(low(a, c, i64::MIN), high(b, d, i64::MAX)),
            (Stack(frame, a, b), Stack(other, c, d)) if frame == other => {
                Stack(frame, low(a, c, -FAR), high(b, d, FAR))
            }
            (Stack(..), Stack(..)) => Any,
            (stack @ Stack(..), _) | (_, stack @ Stack(..)) => stack,
            (Global(map, _), Global(other, _)) if map == other => Global(map, None),
            _ => Any,
        }
    }

    /// Whether whatever is found out with it holds for `other`, too.
    pub const fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Number(a, b), Number(c, d)) => a <= c && d <= b,
            (Stack(frame, a, b), Stack(other, c, d)) => frame == other && a <= c && d <= b,
            (Any, Stack(..) | Value::Function(_)) => false,
            (Any, _) => true,
            (Value::Map(map), Value::Map(other)) => map == other,
            (Value::Function(is), Value::Function(other)) => is == other,
            (Global(map, None), Global(other, _)) => map == other,
            (Global(map, Some(at)), Global(other, Some(there))) => map == other && at == there,
            _ => false,
        }
    }

    /// What an instruction of BPF_ALU (`wide`: BPF_ALU64) makes of `self` and `other`. `signed`: the bits of a
    /// sign-extending move, or 0.
    pub fn compute(self, code: u8, other: Self, wide: bool, signed: i16) -> Self {
        let operation = code & 0xf0;
        if wide {
            match (operation, self, other) {
                (op::MOV, _, other) if signed == 0 => return other,
                (op::ADD, Stack(frame, low, high), by) | (op::ADD, by, Stack(frame, low, high)) => {
                    let (a, b) = by.distance();
                    return Stack(frame, (low + a).max(-FAR), (high + b).min(FAR));
                }
                (op::SUB, Stack(frame, low, high), Number(..)) => {
                    let (a, b) = other.distance();
                    return Stack(frame, (low - b).max(-FAR), (high - a).min(FAR));
                }
                (op::ADD, Global(map, at), by) => {
                    return Global(map, at.zip(by.exact()).map(|(at, by)| at.wrapping_add(by)));
                }
                _ => {}
            }
        }
        let (a, b) = if wide { (self, other) } else { (self.low_half(), other.low_half()) };
        let result = match (a.exact(), b.exact()) {
            (Some(a), Some(b)) => exactly(operation, a, b, wide, signed).map_or(Any, Self::constant),
            (_, Some(b)) if operation == op::MOV => Self::constant(b),
            _ => between(operation, a, b, signed),
        };
        if wide { result } else { result.low_half() }
    }

    /// A number that is added to a pointer. The verifier has bounds for it, or refuses it; where we have none, it counts
    /// from 0.
    fn distance(self) -> (i64, i64) {
        let (low, high) = self.bounds();
        (if low < -FAR { 0 } else { low.min(FAR) }, if high > FAR { FAR } else { high.max(-FAR) })
    }

    /// Its low 32 bits.
    pub fn low_half(self) -> Self {
        match self.exact() {
            Some(number) => Self::constant(i64::from(number as u32)),
            None => match self.bounds() {
                (low, high) if low >= 0 && high <= i64::from(u32::MAX) => self,
                _ => Self::of_bytes(4),
            },
        }
    }
}

/// An operation on two numbers; `None` for what is not known (a swap of bytes).
fn exactly(operation: u8, a: i64, b: i64, wide: bool, signed: i16) -> Option<i64> {
    let bits = if wide { 63 } else { 31 };
    let (shift, unsigned) = ((b & bits) as u32, (a as u64, b as u64));
    Some(match operation {
        op::ADD => a.wrapping_add(b),
        op::SUB => a.wrapping_sub(b),
        op::MUL => a.wrapping_mul(b),
        op::DIV if signed == 0 => unsigned.0.checked_div(unsigned.1).unwrap_or(0) as i64,
        op::MOD if signed == 0 => unsigned.0.checked_rem(unsigned.1).unwrap_or(unsigned.0) as i64,
        op::OR => a | b,
        op::AND => a & b,
        op::XOR => a ^ b,
        op::LSH => ((a as u64) << shift) as i64,
        op::RSH => (a as u64 >> shift) as i64,
        op::ARSH if wide => a >> shift,
        op::ARSH => i64::from(a as i32 >> shift),
        op::NEG => a.wrapping_neg(),
        op::MOV => match signed {
            8 => i64::from(b as i8),
            16 => i64::from(b as i16),
            32 => i64::from(b as i32),
            _ => b,
        },
        _ => return None,
    })
}

/// An operation on numbers between bounds.
fn between(operation: u8, a: Value, b: Value, signed: i16) -> Value {
    let ((a_low, a_high), (b_low, b_high)) = (a.bounds(), b.bounds());
    let positive = a_low >= 0 && b_low >= 0;
    match (operation, b.exact()) {
        (op::MOV, _) if signed == 0 => b,
        (op::ADD, _) if a != Any && b != Any => Number(a_low.saturating_add(b_low), a_high.saturating_add(b_high)),
        (op::SUB, _) if a != Any && b != Any => Number(a_low.saturating_sub(b_high), a_high.saturating_sub(b_low)),
        (op::MUL, _) if positive => Number(a_low.saturating_mul(b_low), a_high.saturating_mul(b_high)),
        (op::AND, _) if b_low >= 0 => Number(0, if a_low >= 0 { a_high.min(b_high) } else { b_high }),
        (op::AND, _) if a_low >= 0 => Number(0, a_high),
        (op::OR, _) if positive => Number(a_low.max(b_low), all_ones(a_high | b_high)),
        (op::XOR, _) if positive => Number(0, all_ones(a_high | b_high)),
        (op::DIV, Some(by)) if positive && by > 0 && signed == 0 => Number(a_low / by, a_high / by),
        (op::MOD, Some(by)) if by > 0 && signed == 0 => Number(0, by - 1),
        (op::RSH, Some(by)) if a_low >= 0 => Number(a_low >> (by & 63), a_high >> (by & 63)),
        (op::RSH, Some(by)) if by & 63 > 0 => Number(0, (u64::MAX >> (by & 63)) as i64),
        (op::ARSH, Some(by)) => Number(a_low >> (by & 63), a_high >> (by & 63)),
        (op::LSH, Some(by @ 0..32)) if a_low >= 0 && a_high < 1 << 30 => Number(a_low << by, a_high << by),
        _ => Any,
    }
}

/// The largest number of as many bits.
const fn all_ones(number: i64) -> i64 {
    if number <= 0 { 0 } else { (u64::MAX >> number.leading_zeros()) as i64 }
}

/// Whether a jump is taken: `None` when both can be. With it, what the register then is on each way: taken, and not.
pub fn branch(code: u8, value: Value, other: Value, wide: bool) -> (Option<bool>, Value, Value) {
    let both = (None, value, value);
    let operation = code & 0xf0;
    if let (Stack(..), Some(0)) = (value, other.exact()) {
        // A pointer into the stack is never null.
        return match operation {
            0x10 => (Some(false), value, value),
            0x50 => (Some(true), value, value),
            _ => both,
        };
    }
    let (Some(by), (mut low, mut high)) = (other.exact(), value.bounds()) else { return both };
    let by = if wide { by } else { i64::from(by as u32) };
    if !wide {
        let half = i64::from(i32::MAX);
        let fits = |number: i64| (0..=half).contains(&number);
        // Where 32 and 64 bits compare the same.
        if matches!(value, Stack(..)) || !(fits(low) && fits(high) && fits(by)) {
            return both;
        }
    }
    if matches!(value, Stack(..) | Value::Map(_) | Global(..) | Value::Function(_)) {
        return both;
    }
    let unsigned = matches!(operation, 0x20 | 0x30 | 0xa0 | 0xb0);
    if unsigned && by < 0 {
        return both;
    }
    // Below and above `by`, as an unsigned comparison sees them: what is negative is large.
    let below = |most: i64| if unsigned { (low.max(0), high.min(most)) } else { (low, high.min(most)) };
    let above = |least: i64| if unsigned && low < 0 { (low, high) } else { (low.max(least), high) };
    let up = by.checked_add(1);
    let down = by.checked_sub(1).filter(|down| !unsigned || *down >= 0);
    let never = (1, 0);
    let (taken, not) = match operation {
        0x10 | 0x50 => {
            let equal = if low <= by && by <= high { (by, by) } else { never };
            low += i64::from(low == by && low < i64::MAX);
            high -= i64::from(high == by && high > i64::MIN);
            if operation == 0x10 { (equal, (low, high)) } else { ((low, high), equal) }
        }
        0x20 | 0x60 => (up.map_or(never, above), below(by)),
        0x30 | 0x70 => (above(by), down.map_or(never, below)),
        0xa0 | 0xc0 => (down.map_or(never, below), above(by)),
        0xb0 | 0xd0 => (below(by), up.map_or(never, above)),
        0x40 => match value.exact() {
            Some(number) if number & by == 0 => (never, (low, high)),
            Some(_) => ((low, high), never),
            None => return both,
        },
        _ => return both,
    };
    let known = match (taken.0 <= taken.1, not.0 <= not.1) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    };
    let number = |(low, high)| if (low, high) == (i64::MIN, i64::MAX) { Any } else { Number(low, high) };
    (known, number(taken), number(not))
}
