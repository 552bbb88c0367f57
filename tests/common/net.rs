//! Two ends of a wire in two network namespaces, and frames that nobody but the test sends.
#![allow(unsafe_code, reason = "packet sockets have no wrapper here")]

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    mem,
    os::fd::{FromRawFd, OwnedFd},
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use nix::sched::{CloneFlags, unshare};

use super::{Sandbox, ok};

/// IEEE's first local experimental ethertype: no protocol of the kernel answers or sends it.
const ETHERTYPE: u16 = 0x88b5;

type Deed = Box<dyn FnOnce() + Send>;

/// A second network namespace, held by a thread that does in it what it is told.
pub struct Peer {
    deeds: Option<Sender<Deed>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Peer {
    /// Makes one.
    pub fn new() -> Self {
        let (deeds, inbox): (_, Receiver<Deed>) = channel();
        let (hello, tid) = channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            // SAFETY: takes nothing and cannot fail.
            hello.send(unsafe { libc::gettid() }).unwrap();
            inbox.into_iter().for_each(|deed| deed());
        });
        Self { deeds: Some(deeds), thread: Some(thread), tid: tid.recv().unwrap() }
    }

    /// Does something in it.
    pub fn run<T: Send + 'static>(&self, deed: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.deeds.as_ref().unwrap().send(Box::new(move || drop(done.send(deed())))).unwrap();
        result.recv().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.deeds.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// `ip`, in this namespace.
pub fn ip(args: &str) {
    ok(Command::new("ip").args(args.split(' ')));
}

/// A wire from `here`, in the sandbox, to `there`, in a second namespace. Silent but for what the test sends: no
/// addresses, no IPv6.
pub struct Wire {
    peer: Peer,
    here: String,
    there: String,
}

impl Wire {
    /// Lays one.
    pub fn new(sandbox: &Sandbox, here: &str) -> Self {
        let (peer, there) = (Peer::new(), format!("{here}-p"));
        // A kernel without IPv6 is as silent.
        if std::path::Path::new("/proc/sys/net/ipv6").exists() {
            sandbox.set_sysctl("net.ipv6.conf.default.disable_ipv6", "1");
            // Whoever opens a key below /proc/sys/net sees its own namespace's.
            peer.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")).unwrap();
        }
        ip(&format!("link add {here} type veth peer name {there} netns {}", peer.tid));
        ip(&format!("link set {here} up"));
        let up = format!("link set {there} up");
        peer.run(move || ip(&up));
        let wire = Self { peer, here: here.to_owned(), there };
        super::wait_for("the wire to come up", || (link(&wire.here)["operstate"] == "UP").then_some(()));
        wire
    }

    /// Something that sends frames from the other end, also from another thread.
    pub fn sender(&self) -> Frames {
        let there = self.there.clone();
        self.peer.run(move || Frames::on(&there))
    }

    /// Something that receives them at this end, behind XDP.
    pub fn receiver(&self) -> Frames {
        Frames::on(&self.here)
    }

    /// Does something at the other end.
    pub fn there<T: Send + 'static>(&self, deed: impl FnOnce() -> T + Send + 'static) -> T {
        self.peer.run(deed)
    }

    /// Sends `count` frames and asserts that every one arrives.
    pub fn passes(&self, count: usize) {
        let (mut from, mut to) = (self.sender(), self.receiver());
        from.send(count);
        assert_eq!(to.receive(count), count, "frames that came through {}", self.here);
    }
}

/// A packet socket on one interface.
pub struct Frames(File);

impl Frames {
    fn on(interface: &str) -> Self {
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: plain system calls on a NUL-terminated name and a zeroed address of the right size.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(ETHERTYPE.to_be()));
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            let socket = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ETHERTYPE.to_be();
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            assert!(address.sll_ifindex > 0, "{interface}: {}", std::io::Error::last_os_error());
            let size = size_of::<libc::sockaddr_ll>() as u32;
            assert_eq!(libc::bind(fd, (&raw const address).cast(), size), 0, "{}", std::io::Error::last_os_error());
            let room: i32 = 8 << 20;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const room).cast(), 4);
            let wait = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const wait).cast(), 16);
            Self(File::from(socket))
        }
    }

    /// Sends `count` frames of 64 bytes.
    pub fn send(&mut self, count: usize) {
        let mut frame = [0_u8; 64];
        frame[..6].fill(0xff);
        frame[6] = 0x02;
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        for _ in 0..count {
            while let Err(error) = self.0.write_all(&frame) {
                assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS), "{error}");
            }
        }
    }

    /// Receives until `count` frames are there or none comes for a while; gives their number.
    pub fn receive(&mut self, count: usize) -> usize {
        let (mut got, start) = (0, Instant::now());
        let mut frame = [0; 2048];
        while got < count && start.elapsed() < Duration::from_secs(3) {
            match self.0.read(&mut frame) {
                Ok(_) => got += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        got
    }
}

/// What `ip` says of an interface.
pub fn link(interface: &str) -> Value {
    let output = ok(Command::new("ip").args(["-j", "-d", "link", "show", "dev", interface]));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    shown[0].clone()
}

/// The XDP program on an interface as `ip` shows it: the mode, and the program's id.
pub fn xdp(interface: &str) -> Option<(&'static str, u64)> {
    let shown = link(interface);
    let mode = match shown["xdp"]["mode"].as_u64().or(shown["xdp"]["attached"][0]["mode"].as_u64())? {
        1 => "native",
        2 => "generic",
        3 => "offload",
        _ => "several",
    };
    Some((mode, shown["xdp"]["prog"]["id"].as_u64()?))
}
