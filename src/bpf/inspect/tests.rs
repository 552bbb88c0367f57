use aya_obj::generated::bpf_insn;

use super::{
    calls::{Calls, starts},
    stack::{Found, Subprogram, TailCall, Walk},
    value::{
        Value::{self, Any, Number, Stack},
        branch,
    },
};

/// code, destination, source, offset, immediate.
type Raw = (u8, u8, u8, i16, i32);

const EXIT: Raw = (0x95, 0, 0, 0, 0);
/// r1 = r10
const FRAME: Raw = (0xbf, 1, 10, 0, 0);
const TAIL_CALL: Raw = (0x85, 0, 0, 0, 12);

fn code(list: &[Raw]) -> Vec<bpf_insn> {
    let insn = |(code, dst, src, off, imm): &Raw| {
        let mut insn = bpf_insn { code: *code, _bitfield_1: Default::default(), off: *off, imm: *imm };
        insn.set_dst_reg(*dst);
        insn.set_src_reg(*src);
        insn
    };
    list.iter().map(insn).collect()
}

fn found(list: &[Raw]) -> (Found, Calls) {
    found_with(list, None)
}

/// The same, with subprograms that are global and take so many arguments.
fn found_with(list: &[Raw], global: Option<usize>) -> (Found, Calls) {
    let code = code(list);
    let starts = starts(&code);
    let end = |nth: usize| starts.get(nth + 1).copied().unwrap_or(code.len());
    let subprograms: Vec<_> =
        starts.iter().enumerate().map(|(nth, start)| Subprogram { start: *start, end: end(nth), global }).collect();
    let found = Walk { code: &code, subprograms: &subprograms, constants: &|_, _, _| None }.all();
    let calls = Calls::of(&code, &subprograms, &found.later);
    (found, calls)
}

fn depths(list: &[Raw]) -> Vec<Option<u32>> {
    found(list).0.depths
}

#[test]
fn what_is_touched_counts_and_what_is_only_named_does_not() {
    assert_eq!(depths(&[EXIT]), [Some(0)]);
    // *(u8 *)(r10 - 1) = 0: frames grow in eights.
    assert_eq!(depths(&[(0x72, 10, 0, -1, 0), EXIT]), [Some(8)]);
    // r1 = r10 - 64, and nobody looks.
    assert_eq!(depths(&[FRAME, (0x07, 1, 0, 0, -64), EXIT]), [Some(0)]);
    // bpf_get_current_comm(r10 - 64, 16)
    let helper = [FRAME, (0x07, 1, 0, 0, -64), (0xb7, 2, 0, 0, 16), (0x85, 0, 0, 0, 16), EXIT];
    assert_eq!(depths(&helper), [Some(64)]);
    // The first argument of bpf_ktime_get_ns() is none.
    assert_eq!(depths(&[FRAME, (0x07, 1, 0, 0, -64), (0x85, 0, 0, 0, 5), EXIT]), [Some(0)]);
}

#[test]
fn frames_of_callers_are_theirs() {
    // call 2; exit; *(u64 *)(r1 - 40) = 0 in the frame of the caller, *(u64 *)(r10 - 16) = 0 in its own.
    let list = [FRAME, (0x85, 0, 1, 0, 1), EXIT, (0x7a, 1, 0, -40, 0), (0x7a, 10, 0, -16, 0), EXIT];
    let (found, calls) = found(&list);
    assert_eq!(found.depths, [Some(40), Some(16)]);
    let chains = calls.chains(&[40, 16], &[]);
    let chain = chains.first().unwrap();
    assert_eq!((chain.bytes, chain.before_6_9, chain.path.as_slice()), (48 + 16, 64 + 32, [0, 1].as_slice()));
}

#[test]
fn what_is_never_reached_has_no_depth() {
    let list = [(0xb7, 1, 0, 0, 3), (0x25, 1, 0, 1, 5), EXIT, (0x7a, 10, 0, -256, 0), (0x85, 0, 1, 0, 1), EXIT, EXIT];
    assert_eq!(depths(&list), [Some(0), None]);
}

#[test]
fn a_pointer_that_is_put_on_the_stack_is_still_one() {
    let list = [FRAME, (0x7b, 10, 1, -8, 0), (0x79, 2, 10, -8, 0), (0x7a, 2, 0, -120, 0), EXIT];
    assert_eq!(depths(&list), [Some(120)]);
}

#[test]
fn a_loop_downwards_ends_where_it_ends() {
    // r2 = 32; r1 = r10; do { r1 -= 8; *(u64 *)(r1 + 0) = 0; r2 -= 1 } while r2 != 0
    let list = [
        (0xb7, 2, 0, 0, 32),
        FRAME,
        (0x07, 1, 0, 0, -8),
        (0x7a, 1, 0, 0, 0),
        (0x07, 2, 0, 0, -1),
        (0x55, 2, 0, -4, 0),
        EXIT,
    ];
    let (found, _) = found(&list);
    assert_eq!((found.depths, found.vague), (vec![Some(256)], false));
    // Without an end, it is said so.
    let endless = [FRAME, (0x07, 1, 0, 0, -8), (0x7a, 1, 0, 0, 0), (0x05, 0, 0, -3, 0), EXIT];
    assert!(self::found(&endless).0.vague);
}

#[test]
fn tail_calls_say_which_slots() {
    // r2 = map 5; r3 = 3
    let list = [(0x18, 2, 1, 0, 5), (0, 0, 0, 0, 0), (0xb7, 3, 0, 0, 3), TAIL_CALL, EXIT];
    let (found, calls) = found(&list);
    assert_eq!(found.tail_calls, [TailCall { map: Some(5), indices: (3, 3) }]);
    assert_eq!(calls.tail_calls, [true]);
    let masked = [(0x18, 2, 1, 0, 5), (0, 0, 0, 0, 0), (0x57, 3, 0, 0, 7), TAIL_CALL, EXIT];
    assert_eq!(self::found(&masked).0.tail_calls, [TailCall { map: Some(5), indices: (0, 7) }]);
}

#[test]
fn who_calls_themselves_come_to_an_end() {
    let (found, calls) = found(&[(0x85, 0, 1, 0, 1), EXIT, (0x85, 0, 1, 0, -1), EXIT]);
    assert_eq!(found.depths, [Some(0), Some(0)]);
    assert!(calls.chains(&[0, 0], &[]).first().unwrap().is_recursive());
    // Global ones, which are looked at for each call alone, and a timer that sets itself again, which is no mistake.
    let (found, calls) = found_with(&[(0x85, 0, 1, 0, 1), EXIT, (0x85, 0, 1, 0, -1), EXIT], Some(0));
    assert_eq!(found.depths, [Some(0), Some(0)]);
    assert!(calls.chains(&[0, 0], &[]).first().unwrap().is_recursive());
    let set = |to| [(0x18, 2, 4, 0, to), (0, 0, 0, 0, 0), (0x85, 0, 0, 0, 170), (0x7a, 10, 0, -8, 0), EXIT];
    let (found, calls) = self::found(&[set(4), set(-1)].concat());
    assert_eq!((found.depths, &found.later[..]), (vec![Some(8), Some(8)], &[1][..]));
    assert!(!calls.chains(&[8, 8], &found.later).first().unwrap().is_recursive());
}

#[test]
fn numbers_keep_their_bounds() {
    let between = |a, b| Number(a, b);
    assert_eq!(Any.compute(0x57, Value::constant(7), true, 0), between(0, 7));
    assert_eq!(between(0, 7).compute(0x47, Value::constant(48), true, 0), between(48, 63));
    assert_eq!(between(1, 3).compute(0x67, Value::constant(2), true, 0), between(4, 12));
    assert_eq!(Value::constant(-1).compute(0xb4, Value::constant(-1), false, 0), Value::constant(0xffff_ffff));
    assert_eq!(Value::constant(1).compute(0xbf, Value::constant(0x80), true, 8), Value::constant(-128));
    assert_eq!(Stack(0, 0, 0).compute(0x07, Value::constant(-24), true, 0), Stack(0, -24, -24));
    assert_eq!(branch(0xa5, between(0, 9), Value::constant(4), true), (None, between(0, 3), between(4, 9)));
    assert_eq!(branch(0x25, between(0, 3), Value::constant(4), true).0, Some(false));
    assert_eq!(branch(0x15, Stack(0, -8, -8), Value::constant(0), true).0, Some(false));
    assert_eq!(branch(0x6d, Any, Value::constant(4), true).1, between(5, i64::MAX));
}

#[test]
fn whatever_stands_there_is_walked_to_an_end() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let codes = [
        0x07, 0x0f, 0x17, 0x1f, 0x27, 0x47, 0x57, 0x67, 0x6f, 0x77, 0x7f, 0x97, 0xb7, 0xbf, 0xc7, 0xc4, 0xb4, 0x24,
        0x3c,
    ];
    let others = [
        0x18, 0x61, 0x79, 0x71, 0x7b, 0x7a, 0x62, 0xdb, 0x20, 0x05, 0x06, 0x15, 0x1d, 0x25, 0xa5, 0x55, 0x6e, 0xd6,
        0xe5, 0x85, 0x95,
    ];
    let all: Vec<u8> = codes.into_iter().chain(others).collect();
    let odd = [0, 1, -1, 8, -8, 64, i32::MAX, i32::MIN, 12, 181, 164, 16];
    for _ in 0..4000 {
        let list: Vec<Raw> = (0..4 + random() % 60)
            .map(|_| {
                let bits = random();
                let code = if bits & 0xf0 == 0 { bits as u8 } else { *all.get(bits as usize % all.len()).unwrap() };
                let imm = if bits >> 40 & 3 == 0 {
                    (bits >> 42) as i32 % 40
                } else {
                    *odd.get((bits >> 42) as usize % odd.len()).unwrap()
                };
                let off = if bits >> 16 & 1 == 0 { (bits >> 17) as i16 % 24 } else { -((bits >> 17) as i16 & 0x1ff) };
                (code, (bits >> 8) as u8 % 11, (bits >> 12) as u8 % 11, off, imm)
            })
            .collect();
        let (found, calls) = found(&list);
        let depths: Vec<u32> = found.depths.iter().map(|depth| depth.unwrap_or(0)).collect();
        let chains = calls.chains(&depths, &found.later);
        let _ = calls.too_deep_for_tail_call(&chains, &depths);
    }
}
