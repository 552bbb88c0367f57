//! The kernel, asked directly: what is pinned, attached, set and mounted. Shares no code with the product, and starts no
//! tool: it is asked tens of thousands of times.
#![allow(unsafe_code, reason = "bpf(2) and netlink have no safe form")]

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// What a pin holds, with its ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pin {
    /// A program: id, type, tag.
    Program { id: u32, kind: u32, tag: String },
    /// A map: id; type, key, value, entries, flags; and of a small hash table what is in it.
    Map { id: u32, layout: [u32; 5], entries: Vec<(u32, u64)> },
    /// A link: id, type, its program, and the interface of an XDP link.
    Link { id: u32, kind: u32, program: u32, ifindex: u32 },
}

impl Pin {
    /// Its id.
    pub fn id(&self) -> u32 {
        match self {
            Self::Program { id, .. } | Self::Map { id, .. } | Self::Link { id, .. } => *id,
        }
    }
}

/// Everything that a run may change.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Everything below the bpffs: directories and symbolic links hold nothing.
    pub pins: BTreeMap<PathBuf, Option<Pin>>,
    /// The watched sysctls.
    pub sysctls: BTreeMap<&'static str, String>,
    /// The program on `lo`, in the generic hook.
    pub xdp: Option<u32>,
    /// The file systems of the kernel that are mounted.
    pub mounts: Vec<String>,
    /// The files of /run/bpfboot, without the lock and the report.
    pub files: BTreeMap<String, String>,
}

impl State {
    /// Looks.
    pub fn now(sysctls: &[&'static str]) -> Self {
        let mut state = Self { xdp: xdp_on_lo(), ..Self::default() };
        walk(Path::new("/sys/fs/bpf"), &mut state.pins);
        state.sysctls = sysctls.iter().map(|key| (*key, sysctl(key))).collect();
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let of_kernel = |line: &&str| line.contains(" /sys/kernel/tracing ") || line.contains(" /sys/kernel/debug ");
        state.mounts = mounts.lines().filter(of_kernel).map(str::to_owned).collect();
        for entry in fs::read_dir("/run/bpfboot").into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name != "lock" && name != "report.json" {
                state.files.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        state
    }

    /// The state without ids, which no two runs share: equal lines are equal states.
    pub fn lines(&self) -> Vec<String> {
        let owner = |program: u32| {
            let found =
                self.pins.iter().find(|(_, pin)| matches!(pin, Some(Pin::Program { id, .. }) if *id == program));
            found.map_or_else(|| "a program without a pin".to_owned(), |(path, _)| path.display().to_string())
        };
        let mut lines = Vec::new();
        for (path, pin) in &self.pins {
            let path = path.display();
            lines.push(match pin {
                None => format!("{path}"),
                Some(Pin::Program { kind, tag, .. }) => format!("{path}: program of type {kind}, tag {tag}"),
                Some(Pin::Map { layout, entries, .. }) => format!("{path}: map {layout:?} {entries:?}"),
                Some(Pin::Link { kind, program, ifindex, .. }) => {
                    format!("{path}: link of type {kind} to {}, interface {ifindex}", owner(*program))
                }
            });
        }
        lines.extend(self.sysctls.iter().map(|(key, value)| format!("{key} = {value}")));
        lines.push(format!("xdp on lo: {:?}", self.xdp.map(owner)));
        lines.extend(self.mounts.iter().cloned());
        lines.extend(self.files.iter().map(|(name, text)| format!("/run/bpfboot/{name}: {text:?}")));
        lines
    }

    /// A program sits on the interface and no pin holds its link: it would stay for ever, or go at any moment.
    pub fn unowned(&self) -> Option<u32> {
        let held = |program: u32| {
            self.pins
                .values()
                .flatten()
                .any(|pin| matches!(pin, Pin::Link { program: p, ifindex, .. } if *p == program && *ifindex != 0))
        };
        self.xdp.filter(|program| !held(*program))
    }
}

/// What one state has and the other has not.
pub fn difference(is: &[String], wanted: &[String]) -> Vec<String> {
    let more = is.iter().filter(|line| !wanted.contains(line)).map(|line| format!("+ {line}"));
    let less = wanted.iter().filter(|line| !is.contains(line)).map(|line| format!("- {line}"));
    more.chain(less).collect()
}

/// A sysctl, words apart by one blank.
pub fn sysctl(key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn walk(dir: &Path, pins: &mut BTreeMap<PathBuf, Option<Pin>>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_file() {
            // maps.debug and progs.debug are the kernel's own.
            if path.extension().is_none() {
                pins.insert(path.clone(), Some(pin(&path)));
            }
        } else {
            if kind.is_dir() {
                walk(&path, pins);
            }
            // The text of a record holds ids.
            if path.parent().and_then(Path::file_name).is_none_or(|parent| parent != "record") {
                pins.insert(path, None);
            }
        }
    }
}

const HASH: u32 = 1;
const MAP_LOOKUP_ELEM: u32 = 1;
const OBJ_GET: u32 = 7;
const GET_INFO_BY_FD: u32 = 15;

fn bpf(command: u32, attr: &mut [u8; 128]) -> i64 {
    // SAFETY: the attribute is as long as is said, and what it points to lives in the callers.
    unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), attr.len()) }
}

/// Opens a pin and asks the kernel what it is (include/uapi/linux/bpf.h: bpf_prog_info, bpf_map_info, bpf_link_info).
fn pin(path: &Path) -> Pin {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let mut attr = [0u8; 128];
    attr[..8].copy_from_slice(&(name.as_ptr() as u64).to_ne_bytes());
    let fd = bpf(OBJ_GET, &mut attr);
    assert!(fd >= 0, "{}: {}", path.display(), std::io::Error::last_os_error());
    // SAFETY: the kernel has just made it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut info = [0u8; 512];
    let mut attr = [0u8; 128];
    attr[..4].copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
    attr[4..8].copy_from_slice(&(info.len() as u32).to_ne_bytes());
    attr[8..16].copy_from_slice(&(info.as_mut_ptr() as u64).to_ne_bytes());
    assert!(bpf(GET_INFO_BY_FD, &mut attr) >= 0, "{}: {}", path.display(), std::io::Error::last_os_error());
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    let what = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    match what.to_str().unwrap() {
        "anon_inode:bpf-prog" => {
            let tag = info[8..16].iter().map(|byte| format!("{byte:02x}")).collect();
            Pin::Program { id: word(4), kind: word(0), tag }
        }
        "anon_inode:bpf-map" => {
            let layout = [word(0), word(8), word(12), word(16), word(20)];
            let entries =
                if layout[..3] == [HASH, 4, 8] { (0..8).filter_map(|key| entry(&fd, key)).collect() } else { vec![] };
            Pin::Map { id: word(4), layout, entries }
        }
        _ => {
            const XDP: u32 = 6;
            let ifindex = if word(0) == XDP { word(16) } else { 0 };
            Pin::Link { id: word(4), kind: word(0), program: word(8), ifindex }
        }
    }
}

fn entry(map: &OwnedFd, key: u32) -> Option<(u32, u64)> {
    let mut value = 0u64;
    let mut attr = [0u8; 128];
    attr[..4].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
    attr[8..16].copy_from_slice(&(&raw const key as u64).to_ne_bytes());
    attr[16..24].copy_from_slice(&(&raw mut value as u64).to_ne_bytes());
    (bpf(MAP_LOOKUP_ELEM, &mut attr) >= 0).then_some((key, value))
}

/// The program on `lo`. RTM_GETLINK for index 1, and the program in IFLA_XDP (include/uapi/linux/if_link.h).
pub fn xdp_on_lo() -> Option<u32> {
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_PROG_ID: u16 = 4;
    let mut request = [0u8; 32];
    request[0] = 32;
    request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[20..24].copy_from_slice(&1i32.to_ne_bytes());
    let mut answer = vec![0u8; 16 << 10];
    // SAFETY: the buffers are as long as is said, and the socket is owned here.
    let got = unsafe {
        let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
        assert!(socket >= 0);
        let socket = OwnedFd::from_raw_fd(socket);
        libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0);
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    let find = |bytes: &[u8], wanted: u16| {
        let mut rest = bytes;
        while rest.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
            if length < 4 || length > rest.len() {
                return None;
            }
            if kind == wanted {
                return Some(rest[4..length].to_vec());
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        None
    };
    let xdp = find(&answer[32..usize::try_from(got).unwrap()], IFLA_XDP)?;
    let id = find(&xdp, IFLA_XDP_PROG_ID)?;
    Some(u32::from_ne_bytes(id[..4].try_into().unwrap()))
}
