//! The three commands of bpf(2) that create: maps, programs, and the BTF they refer to.

use std::{
    ffi::{CStr, c_char},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{BPF_F_TOKEN_FD, bpf_attr, bpf_cmd, bpf_insn};

use super::{
    bpf::{bpf, zeroed},
    link::own,
};

/// How often a load is tried again that the verifier gave up because of a signal (libbpf tries as often).
const ATTEMPTS: usize = 5;

/// The kernel keeps 15 bytes of a name (BPF_OBJ_NAME_LEN in include/uapi/linux/bpf.h, its NUL included).
fn name_into(place: &mut [c_char; 16], name: &str) {
    for (to, from) in place.iter_mut().take(15).zip(name.bytes()) {
        // A character the kernel refuses in a name (bpf_obj_name_cpy()) must not make it refuse the map.
        let kept = from.is_ascii_alphanumeric() || from == b'_' || from == b'.';
        *to = if kept { from } else { b'_' } as c_char;
    }
}

/// A map to create.
#[derive(Clone, Copy, Debug)]
pub struct NewMap<'a> {
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: &'a str,
    /// BPF_MAP_TYPE_*.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
    /// What the type makes of it: the hashes of a bloom filter.
    pub extra: u64,
    /// The object's BTF, with the types of key and value in it.
    pub btf: Option<(BorrowedFd<'a>, u32, u32)>,
    /// For a map of maps: a map like the ones it will hold.
    pub inner: Option<BorrowedFd<'a>>,
    /// A token, in a user namespace.
    pub token: Option<BorrowedFd<'a>>,
}

/// Creates a map (BPF_MAP_CREATE).
///
/// # Errors
/// EPERM without the capability, ENOMEM, E2BIG, EINVAL for sizes and flags its type does not take, 524 for flags.
pub fn create_map(map: &NewMap<'_>) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    let fields = create_fields(&mut attr);
    fields.map_type = map.map_type;
    fields.key_size = map.key_size;
    fields.value_size = map.value_size;
    fields.max_entries = map.max_entries;
    fields.map_flags = map.flags;
    fields.map_extra = map.extra;
    fields.inner_map_fd = map.inner.map_or(0, |fd| fd.as_raw_fd() as u32);
    if let Some((btf, key, value)) = map.btf {
        fields.btf_fd = btf.as_raw_fd() as u32;
        fields.btf_key_type_id = key;
        fields.btf_value_type_id = value;
    }
    if let Some(token) = map.token {
        fields.map_flags |= BPF_F_TOKEN_FD;
        fields.map_token_fd = token.as_raw_fd();
    }
    name_into(&mut fields.map_name, map.name);
    own(bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)?)
}

#[allow(unsafe_code, reason = "the attribute is a C union")]
fn create_fields(attr: &mut bpf_attr) -> &mut aya_obj::generated::bpf_attr__bindgen_ty_1 {
    // SAFETY: the union is all zeroes, which is a value of each of its members.
    unsafe { &mut attr.__bindgen_anon_1 }
}

/// Makes a map read-only for user space (BPF_MAP_FREEZE, 5.2), so that the verifier may take its contents for constants.
///
/// # Errors
/// ENOTSUPP and EBUSY by the map's type and users; EINVAL before 5.2.
pub fn freeze_map(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Gives the kernel an object's BTF (BPF_BTF_LOAD, 4.18), in a user namespace with a token.
///
/// # Errors
/// EINVAL for BTF of a newer kind than this kernel knows.
pub fn load_btf(btf: &[u8], token: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.__bindgen_anon_7.btf = btf.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = btf.len() as u32;
    if let Some(token) = token {
        attr.__bindgen_anon_7.btf_flags = BPF_F_TOKEN_FD;
        attr.__bindgen_anon_7.btf_token_fd = token.as_raw_fd();
    }
    own(bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr)?)
}

/// A program to load.
#[derive(Clone, Debug)]
pub struct NewProgram<'a> {
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: &'a str,
    /// BPF_PROG_TYPE_*.
    pub kind: u32,
    /// BPF_* attach type, 0 where the program type has only one.
    pub expected_attach_type: u32,
    /// BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS.
    pub flags: u32,
    /// Its instructions, relocated.
    pub instructions: &'a [bpf_insn],
    /// Its licence.
    pub license: &'a CStr,
    /// What old kernels want to be asked for with kprobes (LINUX_VERSION_CODE).
    pub kernel_version: u32,
    /// The BTF id of what it attaches to, 0 for kinds that name their target later.
    pub attach_btf_id: u32,
    /// A token, in a user namespace.
    pub token: Option<BorrowedFd<'a>>,
    /// The object's BTF, and which functions and lines the instructions belong to.
    pub btf: Option<(BorrowedFd<'a>, Records, Records)>,
}

/// The instructions of a program that returns a number: BPF_MOV64_IMM(R0, number) and BPF_EXIT_INSN().
pub fn returns(number: u32) -> [bpf_insn; 2] {
    let (mut set, mut exit): (bpf_insn, bpf_insn) = (zeroed(), zeroed());
    (set.code, set.imm) = (0xb7, number as i32);
    exit.code = 0x95;
    [set, exit]
}

/// Records of .BTF.ext: their bytes, and the size of one.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Bytes of one; 0 when there are none.
    pub size: u32,
}

impl Records {
    fn count(&self) -> u32 {
        (self.bytes.len() as u32).checked_div(self.size).unwrap_or(0)
    }
}

/// Loads a program (BPF_PROG_LOAD). With room in `log`, the verifier writes its log there, NUL-terminated.
///
/// # Errors
/// EACCES and others for what the verifier refuses, EPERM without the capability, ENOSPC when the log was too small.
pub fn load_program(program: &NewProgram<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    const BASIC_AND_STATISTICS: u32 = 1 | 4;
    load(program, log, BASIC_AND_STATISTICS)
}

/// The same, with nothing but the verifier's figures in the log, and why it refused the program.
///
/// # Errors
/// As [`load_program`].
pub fn load_for_statistics(program: &NewProgram<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    const STATISTICS: u32 = 4;
    load(program, log, STATISTICS)
}

fn load(program: &NewProgram<'_>, log: &mut [u8], level: u32) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    let fields = load_fields(&mut attr);
    fields.prog_type = program.kind;
    fields.expected_attach_type = program.expected_attach_type;
    fields.prog_flags = program.flags;
    fields.insns = program.instructions.as_ptr() as u64;
    fields.insn_cnt = program.instructions.len() as u32;
    fields.license = program.license.as_ptr() as u64;
    fields.kern_version = program.kernel_version;
    fields.attach_btf_id = program.attach_btf_id;
    if let Some(token) = program.token {
        fields.prog_flags |= BPF_F_TOKEN_FD;
        fields.prog_token_fd = token.as_raw_fd();
    }
    name_into(&mut fields.prog_name, program.name);
    if let Some((btf, functions, lines)) = &program.btf {
        fields.prog_btf_fd = btf.as_raw_fd() as u32;
        fields.func_info = functions.bytes.as_ptr() as u64;
        fields.func_info_rec_size = functions.size;
        fields.func_info_cnt = functions.count();
        fields.line_info = lines.bytes.as_ptr() as u64;
        fields.line_info_rec_size = lines.size;
        fields.line_info_cnt = lines.count();
    }
    if !log.is_empty() {
        fields.log_level = level;
        fields.log_buf = log.as_mut_ptr() as u64;
        fields.log_size = log.len() as u32;
    }
    let mut last = io::Error::from_raw_os_error(libc::EAGAIN);
    for _ in 0..ATTEMPTS {
        match bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
            Ok(fd) => return own(fd),
            Err(error) => last = error,
        }
        if last.raw_os_error() != Some(libc::EAGAIN) {
            break;
        }
    }
    Err(last)
}

#[allow(unsafe_code, reason = "the attribute is a C union")]
fn load_fields(attr: &mut bpf_attr) -> &mut aya_obj::generated::bpf_attr__bindgen_ty_4 {
    // SAFETY: as in `create_fields`.
    unsafe { &mut attr.__bindgen_anon_3 }
}
