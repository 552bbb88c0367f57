//! Work on several CPUs at once.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What the threads have done so far, in no order.
pub type Done<R> = Mutex<Vec<R>>;

/// Does `each` of so many tasks on up to `threads` threads, this one among them, which take the first that is left. The
/// bytes are a thread's own, for all its tasks.
pub fn work(tasks: usize, threads: usize, each: &(dyn Fn(usize, &mut Vec<u8>) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut scratch = Vec::new();
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                task if task < tasks => each(task, &mut scratch),
                _ => break,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be started leaves its share to the others.
            let _ = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work);
        }
        work();
    });
}

/// Notes what came of a task.
pub fn note<R>(done: &Done<R>, result: R) {
    done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
}

/// What came of all of them.
pub fn all<R>(done: Done<R>) -> Vec<R> {
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
