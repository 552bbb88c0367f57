//! `events`: what the embedded objects write into their ring buffers, as lines. Everything is opened first; then every
//! capability goes, and what comes out of the kernel is read with none.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use crate::{
    bpf::open_live,
    cli::Options,
    config::{Config, ObjectSource, PinName},
    error::{Cause, Fault},
    event::Kind,
    health::Health,
    lock, privilege,
    report::{self, Shape, clean, complain},
    sys::{
        bpf::{map_identity, read_entry},
        cpu,
        process::{self, Watch},
        ring::Ring,
    },
};

/// How often the drops are looked at while nothing comes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Text that is held back until a ring buffer is empty.
const BATCH: usize = 32 << 10;

/// Follows the events until a signal comes or nobody listens. `kinds`: only these; none is all.
pub fn events(config: &Config, options: &Options, kinds: &[Kind]) -> Health {
    process::catch_stop_signals();
    let builtin = config.objects.values().filter(|object| matches!(object.source, ObjectSource::Builtin(_)));
    let mut sources = Vec::new();
    for object in builtin {
        match Source::open(&config.bpf.root, &object.name) {
            Ok(source) => sources.push(source),
            Err(fault) => refused(&format!("events of {}", object.name), &fault),
        }
    }
    if sources.is_empty() {
        complain("bpfboot: no ring buffer to read from: events come from builtin objects, once they are loaded\n");
        return Health::Failed;
    }
    if let Err(fault) = privilege::drop_all() {
        refused("events", &fault);
        return Health::Failed;
    }
    follow(&mut sources, kinds, options.shape == Shape::Json);
    Health::Healthy
}

fn refused(what: &str, fault: &Fault) {
    complain(&format!("bpfboot: {what}: {}\n", clean(&fault.to_string())));
    if !fault.mend.is_empty() {
        complain(&format!("  mend: {}\n", clean(&fault.mend)));
    }
}

/// One ring buffer.
struct Source {
    object: PinName,
    ring: Ring,
    drops: OwnedFd,
    /// One copy a CPU, read again and again.
    counters: Vec<u8>,
    /// Drops that were counted before we came.
    before: Option<u64>,
    told: Option<u64>,
    read: u64,
    /// Two readers would each miss what the other takes.
    _turn: Option<std::fs::File>,
}

impl Source {
    fn open(root: &Path, object: &PinName) -> Result<Self, Fault> {
        let open = |name: &str| {
            let name: PinName = name.parse().map_err(|_| Fault::new(Cause::Pin, name))?;
            let map = open_live(root, object, "maps", &name).map_err(|fault| fault.mend("bpfboot apply"))?;
            let identity = map_identity(map.as_fd())
                .map_err(|error| Fault::io(Cause::Map, format!("look at map {object}/{name}"), &error))?;
            Ok((map, identity))
        };
        let ((events, identity), (drops, _)) = (open("events")?, open("drops")?);
        let turn = lock::try_hold(&format!("events-{object}"))?;
        let ring = Ring::open(events, identity.max_entries)
            .map_err(|error| Fault::io(Cause::Map, "map the ring buffer", &error))?;
        let counters = vec![0; 8 * cpu::possible() as usize];
        let mut source =
            Self { object: object.clone(), ring, drops, counters, before: None, told: None, read: 0, _turn: turn };
        source.before = source.count();
        source.told = source.dropped();
        Ok(source)
    }

    /// Events that found no room, ever. `None`: the kernel does not let us look (before 5.19, without capabilities and
    /// with kernel.unprivileged_bpf_disabled).
    fn count(&mut self) -> Option<u64> {
        read_entry(self.drops.as_fd(), &[0; 4], &mut self.counters).ok()?;
        let each = self.counters.chunks_exact(8).filter_map(|copy| copy.try_into().ok().map(u64::from_ne_bytes));
        Some(each.sum())
    }

    /// The same since we came.
    fn dropped(&mut self) -> Option<u64> {
        Some(self.count()?.wrapping_sub(self.before?))
    }
}

fn follow(sources: &mut [Source], kinds: &[Kind], json: bool) {
    let mut out = String::with_capacity(2 * BATCH);
    let rings: Vec<_> = sources.iter().map(|source| source.ring.as_fd().try_clone_to_owned()).collect();
    let mut watch = Watch::new(rings.iter().flatten().map(AsFd::as_fd));
    let mut listened = true;
    loop {
        // Asked before: what was written until then is still told.
        let last = process::stop_requested();
        for source in sources.iter_mut() {
            let Source { object, ring, read, .. } = source;
            listened &= ring.take(&mut |record| {
                *read += 1;
                if kinds.is_empty() || kinds.iter().any(|kind| *kind as u32 == report::event_kind(record)) {
                    report::event(&mut out, object.as_str(), record, json);
                }
                out.len() < BATCH || tell(&mut out)
            });
            let dropped = source.dropped();
            if dropped != source.told {
                source.told = dropped;
                report::account(&mut out, source.object.as_str(), process::uptime(), dropped, None, json);
            }
        }
        listened &= tell(&mut out);
        if last || !listened {
            break;
        }
        watch.wait(LOOK_AGAIN);
    }
    for source in sources.iter_mut() {
        let (dropped, read) = (source.dropped(), Some(source.read));
        report::account(&mut out, source.object.as_str(), process::uptime(), dropped, read, json);
    }
    tell(&mut out);
}

/// Prints what was held back. `false`: nobody listens any more.
fn tell(out: &mut String) -> bool {
    let told = report::try_say(out);
    out.clear();
    told
}
