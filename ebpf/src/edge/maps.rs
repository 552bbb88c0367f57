//! The maps, and what stands in them. Sizes are defaults: `maps.NAME.max-entries` in the configuration sets others.

use aya_ebpf::{
    btf_maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray},
    helpers::generated::bpf_ringbuf_output,
    macros::btf_map,
};
use bpfboot_ebpf::{
    RingBuf,
    event::{Dns, Flow, Header, Http, Tls},
};
use core::{
    arch::asm,
    ptr::{addr_of_mut, from_ref, read_volatile},
};

/// Flows of TCP and UDP, what was dropped left out. A program outside takes old ones away.
#[btf_map(name = "connections")]
pub static CONNECTIONS: HashMap<Flow, Connection, 16_384> = HashMap::new();

/// The last segment of a TCP flow that was told, so that its retransmission is not told again.
#[btf_map(name = "flow_cache")]
pub static FLOW_CACHE: LruHashMap<Flow, Told, 8_192> = LruHashMap::new();

/// What each interface saw, by its index.
#[btf_map(name = "cpu_stats")]
pub static CPU_STATS: PerCpuHashMap<u32, Stats, 256> = PerCpuHashMap::new();

/// See [`Count`].
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<u64, { Count::End as usize }> = PerCpuArray::new();

/// Sources of IPv4 that are dropped. The value means nothing.
#[btf_map(name = "deny")]
pub static DENY: LpmTrie<[u8; 4], u32, 16_384> = LpmTrie::new();

/// Sources of IPv6 that are dropped.
#[btf_map(name = "deny6")]
pub static DENY6: LpmTrie<[u8; 16], u32, 16_384> = LpmTrie::new();

/// Sources under the limit, and when the bucket of each is full again, as bpf_ktime_get_ns() counts.
#[btf_map(name = "limits")]
pub static LIMITS: LruHashMap<Source, u64, 8_192> = LruHashMap::new();

/// Records of `src/event.rs`.
#[btf_map(name = "events")]
static EVENTS: RingBuf<{ 16 << 20 }> = RingBuf::DEFINITION;

/// Events that found no room.
#[btf_map(name = "drops")]
static DROPS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// See [`Handler`].
#[btf_map(name = "dispatch")]
pub static DISPATCH: ProgramArray<8> = ProgramArray::new();

#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Indices of `dispatch`.
#[repr(u32)]
pub enum Handler {
    Http = 0,
    Dns = 1,
    Tls = 2,
    LogEvent = 3,
}

/// What becomes of a packet.
#[repr(u32)]
pub enum Verdict {
    Pass = 0,
    Denied = 1,
    Limited = 2,
}

/// What a packet is, for the counters.
#[repr(u32)]
pub enum Class {
    /// Not IP, or no whole IP header.
    Other = 0,
    /// IP, and none of the following.
    Ip = 1,
    Tcp = 2,
    Udp = 3,
    Icmp = 4,
    Icmpv6 = 5,
}

/// Indices of `counters`.
#[repr(u32)]
pub enum Count {
    /// All packets,
    Packets = 0,
    /// and their bytes.
    Bytes = 1,
    /// At this + 3 * [`Class`] + [`Verdict`], the packets of each.
    Verdicts = 2,
    /// A header is cut off or contradicts itself. It passes, unless its source is denied.
    Malformed = 20,
    /// Fragments, also first ones.
    Fragments = 21,
    /// More extension headers, or more VLAN tags, than are looked at.
    TooDeep = 22,
    /// There was nothing behind an index of `dispatch`.
    Missing = 23,
    /// `connections` was full.
    Full = 24,
    /// A segment that had been told before.
    Repeated = 25,
    /// A payload that its handler did not take for what the port promised.
    Unfit = 26,
    /// A DNS question with a compression pointer, which is not followed.
    Pointers = 27,
    /// From here on, by `Kind`: requests, questions and ClientHellos told.
    Told = 28,
    /// How many there are.
    End = 32,
}

/// A connection, one direction of it.
#[repr(C)]
pub struct Connection {
    pub packets: u64,
    pub bytes: u64,
    /// As bpf_ktime_get_ns() counts.
    pub first: u64,
    pub last: u64,
}

/// What was told of a flow.
#[repr(C)]
pub struct Told {
    /// TCP's sequence number.
    pub sequence: u32,
    /// A `Kind`.
    pub kind: u32,
}

/// An interface, as one CPU sees it.
#[repr(C)]
pub struct Stats {
    pub packets: u64,
    pub bytes: u64,
    pub dropped: u64,
}

/// Whom a limit counts.
#[repr(C)]
pub struct Source {
    pub address: [u64; 2],
    /// 4 or 6.
    pub version: u64,
}

/// How the three records begin.
#[repr(C)]
pub struct Start {
    pub header: Header,
    pub flow: Flow,
}

/// The record that is being built; whichever it is, it begins with [`Start`].
#[repr(C, align(8))]
pub union Record {
    pub http: core::mem::ManuallyDrop<Http>,
    pub dns: core::mem::ManuallyDrop<Dns>,
    pub tls: core::mem::ManuallyDrop<Tls>,
    pub start: core::mem::ManuallyDrop<Start>,
}

/// Words of [`Scratch::window`]: 512 bytes to look into, and what may be read past them.
pub const WINDOW: usize = 82;

/// What is known of the packet that this CPU has. Offsets are from the start of the frame.
#[repr(C)]
pub struct Scratch {
    pub record: Record,
    /// A piece of the payload.
    pub window: [u64; WINDOW],
    /// A [`Class`].
    pub class: u32,
    /// A [`Verdict`].
    pub verdict: u32,
    /// Where the next header begins.
    pub next: u32,
    /// Where the IP packet ends, padding left out.
    pub end: u32,
    /// Where the payload of TCP or UDP begins,
    pub payload: u32,
    /// and its bytes.
    pub length: u32,
    /// TCP's sequence number.
    pub sequence: u32,
    /// Whether the ports are known.
    pub ports: u32,
    /// Whether it is a fragment.
    pub fragment: u32,
    /// Bytes of the payload to fetch.
    pub want: u32,
    /// Where a parser has come to, and what it found.
    pub position: u32,
    pub name_length: u32,
    /// Of a ClientHello: server name, protocols, any other.
    pub extensions: [[u32; 2]; 3],
}

/// This CPU's scratch.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// The flow in the record.
#[inline(always)]
pub fn flow(s: *mut Scratch) -> *mut Flow {
    // SAFETY: an address inside of the scratch.
    unsafe { addr_of_mut!((*s).record).cast::<u8>().add(size_of::<Header>()).cast() }
}

/// Reads what was written before, and makes neither the compiler nor the verifier remember what that was.
#[inline(always)]
pub fn again(value: *const u32) -> usize {
    // SAFETY: the callers' pointers are into the scratch.
    unsafe { read_volatile(value) as usize }
}

/// Cuts a number to the bits of a mask. An instruction, since the compiler leaves out what it knows already, and the
/// verifier forgets.
#[inline(always)]
pub fn mask<const MASK: u32>(mut number: usize) -> usize {
    // SAFETY: a plain instruction.
    unsafe { asm!("{} &= {}", inout(reg) number, const MASK) };
    number
}

/// Counts.
#[inline(always)]
pub fn count(index: usize, amount: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index as u32) {
        // SAFETY: the slot is this CPU's own, and XDP does not nest on a CPU.
        unsafe { *counter += amount };
    }
}

/// Sends the record, `size` bytes of it; whether there was room.
#[inline(always)]
pub fn send(s: *mut Scratch, size: usize) -> bool {
    if size > size_of::<Record>() {
        return false;
    }
    // SAFETY: the record is that long at least.
    let sent = unsafe { bpf_ringbuf_output(from_ref(&EVENTS).cast_mut().cast(), s.cast(), size as u64, 0) };
    if sent != 0
        && let Some(drops) = DROPS.get_ptr_mut(0)
    {
        // SAFETY: as in count().
        unsafe { *drops += 1 };
    }
    sent == 0
}

/// 1 for any number but 0. No comparison, of which the compiler would make a branch.
#[inline(always)]
pub fn nonzero(number: usize) -> usize {
    let mut bits = number | number.wrapping_neg();
    // SAFETY: a plain instruction.
    unsafe { asm!("{} >>= 63", inout(reg) bits) };
    bits
}

/// Sets words of the scratch to zero. Volatile, or the compiler would call memset(), which is not there.
#[inline(always)]
pub fn clear<const WORDS: usize>(words: *mut u64) {
    for word in 0..WORDS {
        // SAFETY: the callers' pointers are into the scratch.
        unsafe { words.add(word).write_volatile(0) };
    }
}
