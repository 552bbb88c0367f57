//! The object under test, loaded by bpfboot, run packet by packet (BPF_PROG_TEST_RUN) and read by bpf(2).
#![allow(unsafe_code, reason = "bpf(2) has no wrapper here")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::common::{LIVE, Sandbox, ring::Ring};

const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_TEST_RUN: i32 = 10;

/// How many counters there are.
pub const COUNTERS: usize = 32;
const RING: usize = 16 << 20;

/// bpf(2).
pub fn bpf(command: i32, attr: &mut [u64]) -> io::Result<i32> {
    let size = size_of_val(attr);
    // SAFETY: the kernel reads and writes `size` bytes, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Opens a pin.
pub fn pinned(path: &str) -> OwnedFd {
    let name = CString::new(path).unwrap();
    let fd = bpf(BPF_OBJ_GET, &mut [name.as_ptr() as u64, 0]).unwrap_or_else(|e| panic!("{path}: {e}"));
    // SAFETY: it is new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Runs an XDP program `repeat` times on a packet; gives its verdict.
pub fn run(program: &OwnedFd, packet: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attr =
        [program.as_raw_fd() as u64, packet.len() as u64, packet.as_ptr() as u64, 0, u64::from(repeat), 0, 0, 0, 0];
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    Ok((attr[0] >> 32) as u32)
}

/// Reads an entry.
pub fn look<const VALUE: usize>(map: &OwnedFd, key: &[u8]) -> Option<[u8; VALUE]> {
    let mut value = [0; VALUE];
    let mut attr = [map.as_raw_fd() as u64, key.as_ptr() as u64, value.as_mut_ptr() as u64, 0];
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attr).ok().map(|_| value)
}

/// The object, live.
pub struct Edge {
    main: OwnedFd,
    counters: OwnedFd,
    connections: OwnedFd,
    /// The reader of its events.
    pub ring: Ring,
}

impl Edge {
    /// Loads it by a configuration.
    pub fn load(s: &Sandbox, config: &str) -> Self {
        Self::with_room(s, config, RING)
    }

    /// The same, with a ring buffer of `room` bytes.
    pub fn with_room(s: &Sandbox, config: &str, room: usize) -> Self {
        s.apply(config).exits(0);
        let map = |name: &str| pinned(&format!("{LIVE}/edge/maps/{name}"));
        Self {
            main: pinned(&format!("{LIVE}/edge/progs/xdp_main")),
            counters: map("counters"),
            connections: map("connections"),
            ring: Ring::open(&format!("{LIVE}/edge/maps/events"), room),
        }
    }

    /// The verdict on a packet.
    pub fn run(&self, packet: &[u8]) -> u32 {
        run(&self.main, packet, 1).unwrap_or_else(|e| panic!("{} bytes: {e}", packet.len()))
    }

    /// All counters, each the sum of every CPU's.
    pub fn counters(&self) -> [u64; COUNTERS] {
        std::array::from_fn(|index| {
            // As many CPUs as a test machine may have.
            let value: [u8; 8 * 256] = look(&self.counters, &(index as u32).to_ne_bytes()).unwrap();
            value.chunks(8).map(|cpu| u64::from_ne_bytes(cpu.try_into().unwrap())).sum()
        })
    }

    /// Packets and bytes of a flow.
    pub fn connection(&self, flow: &[u8]) -> Option<(u64, u64)> {
        let value: [u8; 32] = look(&self.connections, flow)?;
        let word = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().unwrap());
        assert!(word(16) != 0 && word(24) >= word(16), "first and last");
        Some((word(0), word(8)))
    }
}
