//! Files that are opened.

use std::{ffi::CString, fs, mem::offset_of};

use crate::{
    common::events::{Kind, Open},
    with_each,
};

fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// openat(2) of a file that is not there.
pub fn openat(directory: i32, path: &str, flags: i32, mode: u32) {
    let path = CString::new(path).unwrap();
    // SAFETY: the path outlives the call; what is opened is not there.
    assert_eq!(unsafe { libc::openat(directory, path.as_ptr(), flags, mode) }, -1);
}

#[test]
fn openat_is_told_with_all_that_it_asks_for() {
    with_each(|_, mut events| {
        let directory = fs::File::open("/run").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        openat(number, "no-such-directory/file", libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC, 0o640);
        let (me, thread) = (std::process::id(), thread_id());
        let open = events.find("the open", |record| record.by(me) && record.opens("no-such-directory/file"));
        assert_eq!(open.thread(), (thread, "sandbox".to_owned()));
        assert_eq!((open.owner().0, open.owner().1), (0, 0));
        assert_eq!(open.u32(offset_of!(Open, directory)).cast_signed(), number);
        let flags = open.u32(offset_of!(Open, flags)).cast_signed();
        assert_eq!(flags & !libc::O_LARGEFILE, libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC);
        assert_eq!(open.u32(offset_of!(Open, mode)), 0o640);
        assert_eq!(open.u32(offset_of!(Open, length)), 23);
        assert_eq!(open.0.len(), offset_of!(Open, path) + 23, "no more is sent than is used");
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is ours.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) }, 0);
        let age = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        assert!((1..60_000_000_000).contains(&(age - open.u64(0))), "the time of the event");
    });
}

#[test]
fn openat2_is_told_with_flags_and_mode() {
    with_each(|_, mut events| {
        let how: [u64; 3] = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o604, 0];
        let path = c"/run/no/openat2";
        let call = |how: *const u64| {
            // SAFETY: path and structure outlive the call; what is opened is not there.
            unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how, 24) }
        };
        assert_eq!((call(how.as_ptr()), call(16 as *const u64)), (-1, -1));
        let me = std::process::id();
        let open = events.find("the open", |record| record.by(me) && record.opens("/run/no/openat2"));
        assert_eq!(open.u32(offset_of!(Open, directory)).cast_signed(), libc::AT_FDCWD);
        assert_eq!(open.u32(offset_of!(Open, flags)).cast_signed(), libc::O_CREAT | libc::O_WRONLY);
        assert_eq!(open.u32(offset_of!(Open, mode)), 0o604);
        events.find("the open whose flags cannot be read", |record| {
            record.by(me)
                && record.opens("/run/no/openat2")
                && [offset_of!(Open, flags), offset_of!(Open, mode)].map(|at| record.u32(at)) == [0, 0]
        });
    });
}

#[test]
fn a_long_path_is_cut_and_an_unreadable_one_is_empty() {
    with_each(|_, mut events| {
        let long = format!("/run/{}", "long/".repeat(200));
        openat(-7, &long, libc::O_RDONLY, 0);
        let exact = format!("/run/{}", "x".repeat(578));
        openat(-8, &exact, libc::O_RDONLY, 0);
        // SAFETY: nobody has memory there, which is what the kernel says.
        assert_eq!(unsafe { libc::openat(-9, 16 as *const libc::c_char, 0) }, -1);
        let me = std::process::id();
        let of = |directory: i32| {
            let at = offset_of!(Open, directory);
            events.place("the open", |record| {
                record.by(me) && record.is(Kind::Open) && record.u32(at).cast_signed() == directory
            })
        };
        let [cut, whole, unread] = [-7, -8, -9].map(of);
        let [cut, whole, unread] = [cut, whole, unread].map(|place| &events.seen[place]);
        assert_eq!((cut.0.len(), cut.u32(offset_of!(Open, length))), (656, 584), "the guide's large event");
        assert_eq!(cut.text(offset_of!(Open, path)), long[..583]);
        assert_eq!((whole.0.len(), whole.text(offset_of!(Open, path))), (656, exact));
        assert_eq!((unread.0.len(), unread.u32(offset_of!(Open, length))), (offset_of!(Open, path), 0));
    });
}
