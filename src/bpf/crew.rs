//! Work on several CPUs at once.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, PoisonError,
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

/// Does `each` of the tasks that `feed` hands out on up to `threads` threads: as soon as a task is there; this thread once
/// it has handed out all.
pub fn fed<T: Send, R>(threads: usize, each: &(dyn Fn(T) + Sync), feed: impl FnOnce(&dyn Fn(T)) -> R) -> R {
    let (line, moved) = (Mutex::new((VecDeque::new(), false)), Condvar::new());
    let locked = || line.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        let mut line = locked();
        loop {
            match (line.0.pop_front(), line.1) {
                (Some(task), _) => {
                    drop(line);
                    each(task);
                    line = locked();
                }
                (None, true) => break,
                (None, false) => line = moved.wait(line).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // As above.
            let _ = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work);
        }
        let done = feed(&|task| {
            locked().0.push_back(task);
            moved.notify_one();
        });
        locked().1 = true;
        moved.notify_all();
        work();
        done
    })
}

/// Notes what came of a task.
pub fn note<R>(done: &Done<R>, result: R) {
    done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
}

/// What came of all of them.
pub fn all<R>(done: Done<R>) -> Vec<R> {
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
