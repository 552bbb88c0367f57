//! Which arguments of a helper are memory, which the verifier then finds on the stack.

/// A character for each helper by its number: '0', and more by the bits of its arguments that point to memory, the first
/// the lowest. From the prototypes in include/uapi/linux/bpf.h; pointers that the kernel follows at its own risk
/// (`unsafe_ptr`) and what is handed on to a callback are left out.
const MEMORY: &[u8] =
    b"O373101004002000100022100:52522002003100000001000901260529002000204252666440400001602213330001111012;\
222299730;:111110024:0020:21131111011111222073255202110510103141=2103111000151900542000044503331991155133330173";

/// How many arguments each helper takes, by its number.
const ARGUMENTS: &[u8] =
    b"52423050055533002131442215435333231032322103231125434424352242243254544444434141024255132244311111155433344421\
553333210445113053124322221111144434233541421242020315453413231111341454332101144533231442255333220442";

/// The arguments of a helper; of one that is not known: all five.
pub fn arguments(helper: i32) -> u8 {
    usize::try_from(helper).ok().and_then(|at| ARGUMENTS.get(at)).map_or(5, |byte| byte - b'0')
}

/// The arguments that a helper takes as memory, one bit each. Of a helper that is not known: all.
pub fn memory(helper: i32) -> u8 {
    usize::try_from(helper).ok().and_then(|at| MEMORY.get(at)).map_or(0x1f, |byte| byte - b'0')
}

/// A helper that calls a subprogram: the argument that says which, and, of the subprogram, the argument that is the
/// helper's next; `None` where it has none and runs later, on a stack of its own.
pub const fn calls_back(helper: i32) -> Option<(usize, Option<usize>)> {
    match helper {
        // bpf_for_each_map_elem, bpf_timer_set_callback, bpf_find_vma, bpf_loop, bpf_user_ringbuf_drain.
        164 => Some((2, Some(4))),
        170 => Some((2, None)),
        180 => Some((3, Some(3))),
        181 => Some((2, Some(2))),
        209 => Some((2, Some(2))),
        _ => None,
    }
}
