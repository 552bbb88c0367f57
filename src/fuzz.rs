//! The doors that tests/fuzz goes through, and the replay of its corpus. Not a part of the binary.

use std::{
    alloc::{Layout, set_alloc_error_hook},
    panic::{self, AssertUnwindSafe, Location},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    bpf::fuzz as bpf,
    config::{self, Mistakes},
    fields, journal,
    sys::{count::Count, process::End},
};

#[global_allocator]
static MEMORY: Count = Count::new();

/// Most memory for one input, as the parent never gives any back.
const PARENT_MEMORY: usize = 64 << 20;
/// What the child may have, which is bounded by its own means.
const CHILD_MEMORY: usize = 256 << 20;
/// Longest time for one input in the parent.
const TIME: Duration = Duration::from_secs(2);

/// Whether the part that runs may end in a panic of somebody else's code: it runs in the child.
static IN_CHILD: AtomicBool = AtomicBool::new(false);
/// The largest figures so far: bytes in all, bytes at once, microseconds; and how often the child died.
static MOST: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// What the worst input took: bytes in all, bytes in one piece, microseconds; and how often the child died.
pub fn worst() -> [usize; 4] {
    MOST.each_ref().map(|figure| figure.load(Relaxed))
}

/// Whether a panic at that place is this program's fault.
fn ours(place: &Location<'_>) -> bool {
    let room = file!().trim_end_matches("fuzz.rs");
    place.file().starts_with(room)
}

/// Panics of foreign code in the child are its death and no more; all others end the process, for the fuzzer to see.
fn watch(die: bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_alloc_error_hook(|layout: Layout| {
            assert!(IN_CHILD.load(Relaxed), "{PARENT_MEMORY} bytes are not enough: {layout:?} on top");
            panic::resume_unwind(Box::new("out of memory"))
        });
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_CHILD.load(Relaxed) || info.location().is_none_or(ours) {
                MEMORY.reset(usize::MAX);
                before(info);
                if die {
                    std::process::abort();
                }
            }
        }));
    });
}

/// Runs the parent's part of a target: its time and memory are measured.
#[track_caller]
fn in_parent<T>(work: impl FnOnce() -> T) -> T {
    watch(cfg!(fuzzing));
    let start = Instant::now();
    MEMORY.reset(PARENT_MEMORY);
    let done = work();
    let ((total, largest), took) = (MEMORY.counted(), start.elapsed());
    MEMORY.reset(usize::MAX);
    for (most, figure) in MOST.iter().zip([total, largest, took.as_micros() as usize]) {
        most.fetch_max(figure, Relaxed);
    }
    assert!(took < TIME, "took {took:?}");
    done
}

/// Runs the child's part: it may die of others' panics, and of too little memory.
fn in_child(work: impl FnOnce()) {
    MEMORY.reset(CHILD_MEMORY);
    IN_CHILD.store(true, Relaxed);
    let end = panic::catch_unwind(AssertUnwindSafe(work));
    IN_CHILD.store(false, Relaxed);
    MEMORY.reset(usize::MAX);
    MOST[3].fetch_add(usize::from(end.is_err()), Relaxed);
}

/// Configuration: two files, split by a form feed.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    in_parent(|| {
        let (mut mistakes, mut merge) = (Mistakes::default(), config::merge::Merge::default());
        for part in text.split('\u{c}').take(3) {
            merge.add(config::parse::parse("file", part, &mut mistakes));
        }
        let config = merge.build(&mut mistakes);
        let told = mistakes.to_string();
        assert!(!told.contains(['\u{1b}', '\0']), "raw text in {told:?}");
        assert_eq!(mistakes.list.len(), mistakes.total.min(100));
        format!("{config:?}").len()
    });
}

/// An ELF file: what the parent does with it, and then the child; what is found in it without loading it.
pub fn object(bytes: &[u8]) {
    let Ok(job) = in_parent(|| bpf::parent(bytes)) else { return };
    in_child(|| drop(bpf::child(&job)));
    in_child(|| drop(bpf::inspect(bytes)));
}

/// What a child says: how it ends, the size of the pieces it comes in, then the bytes.
pub fn pipe(bytes: &[u8]) {
    let [end, piece, said @ ..] = bytes else { return };
    let end = match end {
        0..128 => End::Exit(0),
        end => End::Exit(i32::from(*end)),
    };
    in_parent(|| bpf::pipe(said, usize::from(*piece) * 16, end));
}

/// Texts of ours that are read back: journal, record, fields.
pub fn journal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    in_parent(|| {
        for line in text.lines() {
            if let Some(undo) = journal::parse(line) {
                let again = journal::line(&undo);
                assert_eq!(journal::parse(again.trim_end_matches('\n')), Some(undo));
            }
            if let Some(fields) = fields::split(line) {
                assert_eq!(fields::split(fields::join(&fields).trim_end_matches('\n')), Some(fields));
            }
        }
        bpf::record(&text);
        if let Some(name) = config::PinName::from_bpffs(&text) {
            assert_eq!(name.on_bpffs(), text);
        }
    });
}

/// Layouts of maps, wanted and pinned.
pub fn layouts(bytes: &[u8]) {
    let mut n = [0; 12];
    let mut words = bytes.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
    n.iter_mut().for_each(|n| *n = words.next().unwrap_or(0));
    in_parent(|| bpf::layouts(n, bytes.last().copied().unwrap_or(0)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Every input of a target's corpus, and every one that was a crash once.
    fn replay(target: &str, door: fn(&[u8])) {
        let mut count = 0;
        for shelf in ["corpus", "regressions"] {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(shelf).join(target);
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                assert!(panic::catch_unwind(|| door(&bytes)).is_ok(), "{}", path.display());
                count += 1;
            }
        }
        assert!(count > 4, "the corpus of {target} has only {count} inputs");
    }

    #[test]
    fn the_corpus_of_configurations_holds() {
        replay("config", config);
    }

    #[test]
    fn the_corpus_of_objects_holds() {
        replay("object", object);
    }

    #[test]
    fn the_corpus_of_pipes_holds() {
        replay("pipe", pipe);
    }

    #[test]
    fn the_corpus_of_journals_holds() {
        replay("journal", journal);
    }

    #[test]
    fn the_corpus_of_layouts_holds() {
        replay("layouts", layouts);
    }
}
