//! What `edge` must read in a payload: the record after its flow, or `None` for what is something else.

use crate::judge::POINTERS;

const METHODS: [&str; 9] = ["GET", "POST", "HEAD", "PUT", "CONNECT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
/// Bytes of a request that are looked at.
const WINDOW: usize = 512;
/// Words, and newlines within them, that are stepped over in search of the host.
const STEPS: usize = 64;

fn padded(text: &[u8], size: usize) -> Vec<u8> {
    let mut field = text[..text.len().min(size)].to_vec();
    field.resize(size, 0);
    field
}

/// Up to the first space or control character.
fn word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte < 0x21).next().unwrap()
}

/// The start of an HTTP request.
pub fn http(payload: &[u8]) -> Option<Vec<u8>> {
    let seen = &payload[..payload.len().min(WINDOW)];
    let method = METHODS.into_iter().find(|method| seen.starts_with(format!("{method} ").as_bytes()))?;
    let target = word(&seen[method.len() + 1..]);
    let target = &target[..target.len().min(128)];
    if target.is_empty() {
        return None;
    }
    Some([padded(method.as_bytes(), 8), padded(host(seen, target.len()), 64), target.to_vec()].concat())
}

fn host(seen: &[u8], from: usize) -> &[u8] {
    let stops = (from..seen.len()).filter(|at| seen[*at] == b'\n' || at % 8 == 7).take(STEPS);
    for line in stops.filter(|at| seen[*at] == b'\n').map(|at| &seen[at + 1..]) {
        if line.first() == Some(&b'\r') {
            break;
        }
        if line.len() >= 5 && line[..5].eq_ignore_ascii_case(b"host:") {
            let value = line[5..].strip_prefix(b" ").unwrap_or(&line[5..]);
            let name = word(value);
            let ends = name.len().min(64) < value.len();
            return if ends { &name[..name.len().min(64)] } else { b"" };
        }
    }
    b""
}

/// A DNS question.
pub fn dns(payload: &[u8], notes: &mut Vec<usize>) -> Option<Vec<u8>> {
    let (header, body) = payload.split_at_checked(12)?;
    if header[2] & 0xf8 != 0 || header[4..6] == [0, 0] {
        return None;
    }
    let mut name = Vec::new();
    for _ in 0..128 {
        let label = usize::from(*body.get(name.len())?);
        if name.len() >= 255 {
            return None;
        }
        if label >= 64 {
            if label >= 0xc0 {
                notes.push(POINTERS);
            }
            return None;
        }
        // A label may run past the end: then the next byte is not there.
        let end = name.len() + 1 + label;
        name.extend_from_slice(body.get(name.len()..end)?);
        if label == 0 {
            let question = body.get(end..end + 4)?;
            let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]).to_ne_bytes();
            let length = (name.len() as u32).to_ne_bytes();
            return Some([&number(&header[..2])[..], &number(question), &length, &name].concat());
        }
    }
    None
}

/// Takes a vector with a length of `bytes` bytes off the front.
fn vector<'a>(from: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (length, rest) = from.split_at_checked(bytes)?;
    let length = length.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let (vector, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(vector)
}

/// A ClientHello.
pub fn tls(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() <= 43 || payload[..2] != [22, 3] || payload[5] != 1 {
        return None;
    }
    let version = u16::from_be_bytes([payload[9], payload[10]]);
    let mut rest = &payload[43..];
    let _session = vector(&mut rest, 1)?;
    // The suites need not be there when the methods after them are not asked for; but they are.
    let _suites = vector(&mut rest, 2)?;
    let methods = usize::from(*rest.first()?);
    let (mut name, mut alpn): (&[u8], &[u8]) = (b"", b"");
    let mut rest = rest.get(1 + methods..).unwrap_or_default();
    if let Some((length, body)) = rest.split_at_checked(2) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        rest = &body[..body.len().min(length)];
        for _ in 0..24 {
            let Some((kind, mut after)) = rest.split_at_checked(2) else { break };
            let Some(extension) = vector(&mut after, 2) else { break };
            match kind {
                [0, 0] => name = server_name(extension).unwrap_or_default(),
                [0, 16] => alpn = vector(&mut &*extension, 2).unwrap_or_default(),
                _ => {}
            }
            rest = after;
        }
    }
    let name = &name[..name.len().min(256)];
    let mut record = version.to_ne_bytes().to_vec();
    record.extend((alpn.len().min(64) as u16).to_ne_bytes());
    record.extend((name.len() as u32).to_ne_bytes());
    record.extend(padded(alpn, 64));
    record.extend(name);
    Some(record)
}

fn server_name(mut extension: &[u8]) -> Option<&[u8]> {
    let (head, rest) = extension.split_at_checked(3)?;
    extension = rest;
    vector(&mut extension, 2).filter(|_| head[2] == 0)
}
