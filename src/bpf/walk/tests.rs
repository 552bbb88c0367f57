//! The walk, over instructions as clang makes them.

use aya_obj::generated::bpf_insn;

use super::*;

const EXIT: (u8, u8, u8, i16, i32) = (0x95, 0, 0, 0, 0);

fn code(list: &[(u8, u8, u8, i16, i32)]) -> Vec<bpf_insn> {
    let insn = |(code, dst, src, off, imm): &(u8, u8, u8, i16, i32)| {
        let mut insn = bpf_insn { code: *code, _bitfield_1: Default::default(), off: *off, imm: *imm };
        insn.set_dst_reg(*dst);
        insn.set_src_reg(*src);
        insn
    };
    list.iter().map(insn).collect()
}

fn walked(list: &[(u8, u8, u8, i16, i32)]) -> Walk {
    Walk::of(&code(list), &|_, _, _| None)
}

#[test]
fn calls_and_maps_are_seen() {
    let walk = walked(&[
        (0x18, 1, 1, 0, 7),
        (0, 0, 0, 0, 0),
        (0x85, 0, 0, 0, 1),
        (0x85, 0, 1, 0, 1),
        EXIT,
        (0x85, 0, 2, 0, 4711),
        (0x18, 1, 2, 0, 8),
        (0, 0, 0, 0, 16),
        EXIT,
    ]);
    assert_eq!(walk.helpers(), [1]);
    assert_eq!(walk.maps(), [7, 8]);
    assert_eq!(walk.kernel_functions(), [(4711, 0)]);
    assert_eq!(walk.uses.get(2), Some(&(3, Use::Function(5))));
    assert_eq!(walk.forms, [Form::Functions, Form::KernelFunctions, Form::Globals]);
}

#[test]
fn what_a_constant_rules_out_is_not_reached() {
    // r1 = 0; if r1 == 0 goto exit; call 181
    let walk = walked(&[(0xb7, 1, 0, 0, 0), (0x15, 1, 0, 1, 0), (0x85, 0, 0, 0, 181), EXIT]);
    assert_eq!((walk.helpers(), walk.reached), (vec![], vec![true, true, false, true]));
    // The same behind a constant of the object.
    let list =
        [(0x18, 1, 2, 0, 3), (0, 0, 0, 0, 8), (0x61, 1, 1, 4, 0), (0xa5, 1, 0, 1, 6), (0x85, 0, 0, 0, 181), EXIT];
    let constant = |value| move |map, offset, size| ((map, offset, size) == (3, 12, 4)).then_some(value);
    assert!(Walk::of(&code(&list), &constant(5)).helpers().is_empty());
    assert_eq!(Walk::of(&code(&list), &constant(6)).helpers(), [181]);
    assert_eq!(walked(&list).helpers(), [181]);
}

#[test]
fn a_loop_ends_and_what_it_changes_is_not_known() {
    // r1 = 0; do { if r1 > 5 call 181; r1 += 1 } while r1 < 10
    let walk = walked(&[
        (0xb7, 1, 0, 0, 0),
        (0xb5, 1, 0, 1, 5),
        (0x85, 0, 0, 0, 181),
        (0x07, 1, 0, 0, 1),
        (0xa5, 1, 0, -4, 10),
        EXIT,
    ]);
    assert_eq!((walk.helpers(), walk.forms), (vec![181], vec![Form::Loops]));
}

#[test]
fn forms_are_told_apart() {
    let form = |insn| walked(&[insn, EXIT]).forms;
    assert_eq!(form((0xdb, 1, 2, 0, 0)), []);
    assert_eq!(form((0xdb, 1, 2, 0, 1)), [Form::Atomics]);
    assert_eq!(form((0x16, 1, 0, 0, 0)), [Form::Jumps32]);
    assert_eq!(form((0x06, 0, 0, 0, 0)), [Form::Version4]);
    assert_eq!(form((0x91, 1, 2, 0, 0)), [Form::Version4]);
    assert_eq!(form((0xbf, 1, 2, 8, 0)), [Form::Version4]);
    assert_eq!(form((0xbf, 1, 2, 0, 0)), []);
    assert_eq!(form((0xbf, 1, 2, 1, 0)), [Form::AddressSpaces, Form::Version4].get(..1).unwrap_or_default());
    assert_eq!(form((0xe5, 0, 0, 0, 0)), [Form::MayGoto]);
    assert_eq!(form((0x18, 1, 4, 0, 1)), [Form::Callbacks]);
}

#[test]
fn what_is_cut_off_or_jumps_away_ends() {
    for list in [vec![], vec![(0x05, 0, 0, -5, 0)], vec![(0x15, 1, 0, 90, 0)], vec![(0x18, 1, 1, 0, 7)]] {
        assert!(walked(&list).reached.iter().all(|reached| *reached));
    }
}
