//! What `status` saw of the live generation and of the machine under it, as data.

use std::time::Duration;

/// All of it, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The objects of the live generation, and those of the configuration that should be in it.
    pub objects: Vec<Object>,
    /// The machine.
    pub machine: Machine,
    /// How long the runs were measured; `None` where nobody asked.
    pub sampled: Option<Duration>,
    /// Since boot, the time asleep counted.
    pub now: Duration,
    /// The same moment by the clock of the wall, since 1970.
    pub unix: Duration,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// One object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Why nothing can be said of it.
    pub absent: Option<String>,
    /// Its programs.
    pub programs: Vec<Program>,
    /// Its maps.
    pub maps: Vec<Map>,
    /// Its links.
    pub links: Vec<Link>,
    /// Events that found no room in its ring buffer, ever; `None` where it does not count them.
    pub lost: Option<u64>,
}

/// What became of a thing that we pinned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Life {
    /// It is the one that we made, and does its work.
    #[default]
    Alive,
    /// It is ours, and what it was attached to is gone.
    Dead,
    /// Its pin is gone, or cannot be opened.
    Missing,
    /// Another one is pinned in its place, or it carries another program.
    Replaced,
}

impl Life {
    /// The word for people and machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Missing => "missing",
            Self::Replaced => "replaced",
        }
    }
}

/// What programs, maps and links have in common.
#[derive(Clone, Debug, Default)]
pub struct Thing {
    /// Its pin.
    pub name: String,
    /// The kernel's id.
    pub id: u32,
    /// What became of it.
    pub life: Life,
    /// Why it is not alive, or what is odd about it.
    pub why: String,
}

/// A program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Who it is.
    pub thing: Thing,
    /// Its type: `xdp`, `kprobe`.
    pub kind: String,
    /// The kernel's hash over its instructions.
    pub tag: String,
    /// When it was loaded, since boot.
    pub loaded: Duration,
    /// Bytes of machine code; 0 where it is interpreted.
    pub jited: u32,
    /// Bytes that the kernel charges for it (fdinfo).
    pub memory: Option<u64>,
    /// Instructions that the verifier walked; 0 before 5.16.
    pub verified: u32,
    /// Runs that were left out because the program was running already (5.12).
    pub misses: u64,
    /// Runs while statistics were on, and their time, ever.
    pub ever: Runs,
    /// The same while we sampled.
    pub sample: Option<Runs>,
}

/// Runs of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Runs {
    /// How many.
    pub count: u64,
    /// Nanoseconds of all of them.
    pub ns: u64,
}

impl Runs {
    /// Nanoseconds of one, in the middle.
    pub const fn each(self) -> Option<u64> {
        self.ns.checked_div(self.count)
    }

    /// What came after `before`.
    pub const fn since(self, before: Self) -> Self {
        Self { count: self.count.saturating_sub(before.count), ns: self.ns.saturating_sub(before.ns) }
    }
}

/// A map.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Who it is.
    pub thing: Thing,
    /// Its type: `lru_hash`.
    pub kind: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
    /// Bytes that the kernel charges for it (fdinfo).
    pub memory: Option<u64>,
    /// Whether it is a ring buffer: `used` is then what is written and not yet read, in bytes.
    pub ring: bool,
    /// Entries in it; `None` where it was not counted, or where all are always there.
    pub used: Option<u64>,
}

/// A link.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Who it is.
    pub thing: Thing,
    /// Its program, by name.
    pub program: String,
    /// Where it is attached: `xdp eth0 native`, `kprobe vfs_read`.
    pub target: String,
    /// The mode in which XDP really runs; `None` for other links, and where it cannot be told.
    pub mode: Option<&'static str>,
    /// Hits of a kprobe that the kernel passed over (6.7).
    pub missed: Option<u64>,
}

/// What is the same for all programs. `None`: it cannot be told here.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// net.core.bpf_jit_enable.
    pub jit: Option<u64>,
    /// net.core.bpf_jit_harden: above 0 it hides the symbols of programs from kallsyms and perf.
    pub harden: Option<u64>,
    /// kernel.bpf_stats_enabled.
    pub stats: Option<u64>,
    /// What the kernel dropped and cut short before any program saw it.
    pub softnet: Option<Softnet>,
    /// RLIMIT_MEMLOCK, to which BPF memory was charged before 5.11; `None` since, when it is the memory cgroup.
    pub memlock: Option<String>,
    /// Whether fdinfo tells memory to the byte (6.4), and not by a rule of thumb.
    pub exact: bool,
}

/// Sums over all CPUs of /proc/net/softnet_stat, since boot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Softnet {
    /// Packets processed.
    pub processed: u64,
    /// Packets dropped because the backlog was full (net.core.netdev_max_backlog).
    pub dropped: u64,
    /// Times that a softirq ended with work left (net.core.netdev_budget).
    pub squeezed: u64,
}

impl Seen {
    /// Everything with a name and a life, each with its object and what it is.
    pub fn things(&self) -> impl Iterator<Item = (&Object, &'static str, &Thing)> {
        self.objects.iter().flat_map(|object| {
            let programs = object.programs.iter().map(move |it| (object, "program", &it.thing));
            let maps = object.maps.iter().map(move |it| (object, "map", &it.thing));
            let links = object.links.iter().map(move |it| (object, "link", &it.thing));
            programs.chain(maps).chain(links)
        })
    }

    /// Whether all is there, and alive.
    pub fn whole(&self) -> bool {
        self.objects.iter().all(|object| object.absent.is_none())
            && self.things().all(|(_, _, thing)| thing.life == Life::Alive)
    }

    /// Fills in what ran since `before`.
    pub fn compare(&mut self, before: &Self) {
        let then: Vec<&Program> = before.objects.iter().flat_map(|object| &object.programs).collect();
        for now in self.objects.iter_mut().flat_map(|object| &mut object.programs) {
            let same = then.iter().find(|then| then.thing.id == now.thing.id && now.thing.life == Life::Alive);
            now.sample = same.map(|then| now.ever.since(then.ever));
        }
    }
}
