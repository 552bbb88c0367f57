//! One question to rtnetlink: which index does an interface have, and which XDP program sits on it in which mode?
//!
//! A pinned link says which interface it holds but not in which mode, and says nothing of programs that are not ours.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::config::IfName;

/// What an interface carries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// Its index in this network namespace.
    pub index: u32,
    /// Program id in the driver's hook, 0 for none.
    pub native: u32,
    /// Program id in the generic hook, 0 for none.
    pub generic: u32,
    /// Program id in the card, 0 for none.
    pub offload: u32,
}

impl Interface {
    /// The programs on it, with the mode's name.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, u32)> {
        [("native", self.native), ("generic", self.generic), ("offload", self.offload)]
            .into_iter()
            .filter(|(_, id)| *id != 0)
    }
}

// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// Looks an interface up by name. `None`: there is none of that name here.
///
/// # Errors
/// What socket(2), send(2) or recv(2) on a NETLINK_ROUTE socket gives.
pub fn interface(name: &IfName) -> io::Result<Option<Interface>> {
    Ok(ask(&request(0, name.as_str()))?.map(|(_, interface)| interface))
}

/// Looks an interface up by its index in this network namespace, and tells its name. `None`: there is none.
///
/// # Errors
/// As [`interface`].
pub fn interface_at(index: u32) -> io::Result<Option<(String, Interface)>> {
    ask(&request(index, ""))
}

fn ask(request: &[u8]) -> io::Result<Option<(String, Interface)>> {
    let socket = route_socket()?;
    send(&socket, request)?;
    let mut answer = vec![0u8; 32 * 1024];
    let length = receive(&socket, &mut answer)?;
    parse(answer.get(..length).unwrap_or_default())
}

#[allow(unsafe_code, reason = "nix's socket feature costs more than this call")]
fn route_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes plain numbers; the descriptor it returns is owned here and nowhere else.
    unsafe {
        match libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

#[allow(unsafe_code, reason = "send(2)")]
fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length belong to `bytes`, which outlives the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[allow(unsafe_code, reason = "recv(2)")]
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong to `buffer`, which outlives the call.
    let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// RTM_GETLINK for one index, or for one name where that is 0: nlmsghdr, ifinfomsg, IFLA_IFNAME.
fn request(index: u32, name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let length = if index == 0 { 32 + align(attribute) } else { 32 };
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    out.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    out.resize(20, 0);
    out.extend_from_slice(&index.to_ne_bytes());
    out.resize(32, 0);
    if index == 0 {
        out.extend_from_slice(&(attribute as u16).to_ne_bytes());
        out.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
        out.extend_from_slice(name.as_bytes());
        out.resize(length, 0);
    }
    out
}

fn parse(message: &[u8]) -> io::Result<Option<(String, Interface)>> {
    let kind = u16_at(message, 4);
    if kind == Some(libc::NLMSG_ERROR as u16) {
        let errno = i32_at(message, 16).map_or(libc::EPROTO, |n| -n);
        return if errno == libc::ENODEV { Ok(None) } else { Err(io::Error::from_raw_os_error(errno)) };
    }
    let (Some(index), Some(body)) = (i32_at(message, 20), message.get(32..)) else {
        return Err(io::Error::from_raw_os_error(libc::EPROTO));
    };
    let mut found = Interface { index: index.unsigned_abs(), ..Interface::default() };
    let name = attributes(body).find(|(kind, _)| *kind == IFLA_IFNAME).map(|(_, name)| name).unwrap_or_default();
    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    let xdp = attributes(body).find(|(kind, _)| *kind == IFLA_XDP);
    let mut single = (0u8, 0u32);
    for (kind, value) in xdp.map(|(_, nested)| attributes(nested)).into_iter().flatten() {
        let id = i32_at(value, 0).unwrap_or(0).unsigned_abs();
        match kind {
            IFLA_XDP_ATTACHED => single.0 = value.first().copied().unwrap_or(0),
            IFLA_XDP_PROG_ID => single.1 = id,
            IFLA_XDP_DRV_PROG_ID => found.native = id,
            IFLA_XDP_SKB_PROG_ID => found.generic = id,
            IFLA_XDP_HW_PROG_ID => found.offload = id,
            _ => {}
        }
    }
    // Kernels before 4.19 name the one program without its mode; XDP_ATTACHED_{DRV,SKB,HW} are 1, 2, 3.
    match single {
        (1, id) => found.native = id,
        (2, id) => found.generic = id,
        (3, id) => found.offload = id,
        _ => {}
    }
    Ok(Some((name, found)))
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

const fn align(length: usize) -> usize {
    (length + 3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + size_of::<u16>())?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + size_of::<i32>())?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_a_made_up_name_is_not() {
        let lo = interface(&"lo".parse().unwrap()).unwrap().unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(interface(&"no-such-if".parse().unwrap()).unwrap(), None);
        assert_eq!(interface_at(1).unwrap(), Some(("lo".to_owned(), lo)));
        assert_eq!(interface_at(0x7fff_0000).unwrap(), None);
    }
}
