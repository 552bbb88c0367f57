//! Work on several CPUs at once.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread::{self, Scope},
};

/// How much a task comes before others, field by field; of two alike the one that was handed out first.
pub type Weight = (bool, bool, u64);

/// Hands out tasks.
pub type Give<'a, T> = &'a dyn Fn(&mut dyn Iterator<Item = (Weight, T)>);

/// What was handed out and nobody has begun, and how many may still hand out: those at work, those that wait, and who
/// feeds.
struct Line<T> {
    waiting: Vec<(Weight, T)>,
    open: usize,
}

impl<T> Line<T> {
    fn next(&mut self) -> Option<T> {
        let heaviest = self.waiting.iter().map(|(weight, _)| weight).max()?;
        let at = self.waiting.iter().position(|(weight, _)| weight == heaviest)?;
        Some(self.waiting.remove(at).1)
    }
}

/// Does `each` of the tasks that `feed` hands out, and of those that they hand out, on up to `threads` threads: as soon as
/// a task is there; this thread once it has fed. The bytes are a thread's own, for all its tasks.
pub fn work<T: Send>(
    threads: usize,
    each: &(impl Fn(T, &mut Vec<u8>, Give<'_, T>) + Sync),
    feed: &mut dyn FnMut(Give<'_, T>),
) {
    let (line, moved) = (Mutex::new(Line { waiting: Vec::new(), open: 1 }), Condvar::new());
    let locked = || line.lock().unwrap_or_else(PoisonError::into_inner);
    let give = |tasks: &mut dyn Iterator<Item = (Weight, T)>| {
        let mut line = locked();
        let before = line.waiting.len();
        line.waiting.extend(tasks);
        line.open += line.waiting.len() - before;
        moved.notify_all();
    };
    let end = || {
        let mut line = locked();
        line.open -= 1;
        if line.open == 0 {
            moved.notify_all();
        }
    };
    let work = || {
        let mut scratch = Vec::new();
        let mut line = locked();
        loop {
            match line.next() {
                Some(task) => {
                    drop(line);
                    each(task, &mut scratch, &give);
                    end();
                    line = locked();
                }
                None if line.open == 0 => break,
                None => line = moved.wait(line).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    thread::scope(|scope| {
        start(scope, threads.saturating_sub(1), &work);
        feed(&give);
        end();
        work();
    })
}

/// Starts so many threads, each by the one before it: a thread takes a tenth of a millisecond, and of twenty in a row
/// whoever feeds would be late.
fn start<'scope>(scope: &'scope Scope<'scope, '_>, threads: usize, work: &'scope (dyn Fn() + Sync)) {
    let Some(more) = threads.checked_sub(1) else { return };
    let then = move || {
        start(scope, more, work);
        work();
    };
    // A thread that cannot be started leaves its share to the others.
    let _ = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, then);
}
