//! What systemd hears of us, where it listens: the status of the service (sd_notify(3)), and log records with fields
//! (the native protocol of the journal). Both are one datagram, and neither can fail a run.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// Where the journal takes records with fields.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// A socket that sends to this place, and waits no longer than that for room. A name that begins with `@` is abstract.
///
/// # Errors
/// Nobody listens there.
pub fn connect(place: &OsStr, patience: Duration) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match place.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(place)?,
    }
    socket.set_write_timeout(Some(patience))?;
    Ok(socket)
}

/// One line for `systemctl status`, where the unit has NotifyAccess=.
pub fn tell_status(text: impl FnOnce() -> String, patience: Duration) {
    if let Some(place) = env::var_os("NOTIFY_SOCKET") {
        let _ = connect(&place, patience).and_then(|socket| socket.send(format!("STATUS={}", text()).as_bytes()));
    }
}

/// A record for the journal. Every field in the form with a length, which any value fits.
pub fn record(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut record = Vec::new();
    for (name, value) in fields {
        record.extend_from_slice(name.as_bytes());
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
        record.extend_from_slice(value.as_bytes());
        record.push(b'\n');
    }
    record
}
