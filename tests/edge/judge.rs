//! What `edge` must make of a packet, by a parser that shares nothing with it: headers by etherparse, the rest here.

use std::collections::HashMap;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};

use crate::{kernel::COUNTERS, payload};

/// XDP_DROP and XDP_PASS.
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;

/// Indices of the counters.
pub const MALFORMED: usize = 20;
pub const FRAGMENTS: usize = 21;
pub const TOO_DEEP: usize = 22;
pub const REPEATED: usize = 25;
pub const UNFIT: usize = 26;
pub const POINTERS: usize = 27;
pub const HTTP: usize = 28;
pub const DNS: usize = 29;
pub const TLS: usize = 30;

/// Where a packet goes and comes from, as the object lays it out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    pub source: Vec<u8>,
    pub destination: Vec<u8>,
    pub ports: Option<(u16, u16)>,
    pub protocol: u8,
    pub vlan: u16,
}

impl Flow {
    /// The bytes of the key.
    pub fn key(&self) -> Vec<u8> {
        let mut key = vec![0; 48];
        key[..self.source.len()].copy_from_slice(&self.source);
        key[16..16 + self.destination.len()].copy_from_slice(&self.destination);
        let (source, destination) = self.ports.unwrap_or_default();
        key[32..34].copy_from_slice(&source.to_ne_bytes());
        key[34..36].copy_from_slice(&destination.to_ne_bytes());
        // BPF_PROG_TEST_RUN comes in on lo.
        key[36..40].copy_from_slice(&1_u32.to_ne_bytes());
        key[40] = if self.source.len() == 4 { 4 } else { 6 };
        key[41] = self.protocol;
        key[42..44].copy_from_slice(&self.vlan.to_ne_bytes());
        key
    }
}

/// What is expected of one packet.
#[derive(Debug, Default)]
pub struct Expected {
    pub verdict: u32,
    /// By how much each counter moves.
    pub counts: [u64; COUNTERS],
    pub flow: Flow,
    /// Packets and bytes of its connection afterwards.
    pub connection: Option<(u64, u64)>,
    /// The event, without its header.
    pub event: Option<Vec<u8>>,
}

/// What can be read of a packet.
#[derive(Default)]
struct Read<'a> {
    flow: Flow,
    class: usize,
    notes: Vec<usize>,
    payload: Option<&'a [u8]>,
    sequence: u32,
    fragment: bool,
}

struct Malformed;

/// A judge remembers what it saw, as the object does.
#[derive(Default)]
pub struct Judge {
    /// Prefixes of the deny lists.
    pub denied: Vec<(Vec<u8>, usize)>,
    connections: HashMap<Vec<u8>, (u64, u64)>,
    told: HashMap<Vec<u8>, u32>,
}

impl Judge {
    /// Judges one packet.
    pub fn expect(&mut self, packet: &[u8]) -> Expected {
        let mut read = Read::default();
        if read.ethernet(packet).is_err() {
            read.notes.push(MALFORMED);
        }
        let mut expected = Expected { verdict: PASS, flow: read.flow.clone(), ..Expected::default() };
        let denied = self.denied.iter().any(|(prefix, bits)| covers(prefix, *bits, &read.flow.source));
        if denied {
            expected.verdict = DROP;
        } else {
            self.follow(&mut read, &mut expected);
        }
        expected.connection = self.connections.get(&read.flow.key()).copied();
        let counts = &mut expected.counts;
        counts[0] += 1;
        counts[1] += packet.len() as u64;
        counts[2 + read.class * 3 + usize::from(denied)] += 1;
        for note in read.notes {
            counts[note] += 1;
        }
        expected
    }

    fn follow(&mut self, read: &mut Read<'_>, expected: &mut Expected) {
        let (Some((_, port)), Some(payload)) = (read.flow.ports, read.payload) else { return };
        let key = read.flow.key();
        let connection = self.connections.entry(key.clone()).or_default();
        *connection = (connection.0 + 1, connection.1 + payload.len() as u64);
        let handler = match (read.flow.protocol, port) {
            (6, 80 | 8080) => HTTP,
            (6, 443 | 8443) => TLS,
            (17, 53) => DNS,
            _ => return,
        };
        if payload.is_empty() || read.fragment {
            return;
        }
        if handler != DNS && self.told.get(&key) == Some(&read.sequence) {
            read.notes.push(REPEATED);
            return;
        }
        let record = match handler {
            HTTP => payload::http(payload),
            TLS => payload::tls(payload),
            _ => payload::dns(payload, &mut read.notes),
        };
        match record {
            Some(record) => {
                read.notes.push(handler);
                expected.event = Some([key.as_slice(), &record].concat());
                if handler != DNS {
                    self.told.insert(key, read.sequence);
                }
            }
            None => read.notes.push(UNFIT),
        }
    }
}

fn covers(prefix: &[u8], bits: usize, address: &[u8]) -> bool {
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    prefix.len() == address.len() && (0..bits).all(|n| bit(prefix, n) == bit(address, n))
}

impl<'a> Read<'a> {
    fn ethernet(&mut self, packet: &'a [u8]) -> Result<(), Malformed> {
        let header = Ethernet2HeaderSlice::from_slice(packet).map_err(|_| Malformed)?;
        let (mut kind, mut rest) = (header.ether_type(), &packet[14..]);
        for tags in 0.. {
            match kind {
                EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING | EtherType::VLAN_DOUBLE_TAGGED_FRAME => {
                    if tags == 2 {
                        self.notes.push(TOO_DEEP);
                        return Ok(());
                    }
                    let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(|_| Malformed)?;
                    if tags == 0 {
                        self.flow.vlan = tag.vlan_identifier().value();
                    }
                    (kind, rest) = (tag.ether_type(), &rest[4..]);
                }
                EtherType::IPV4 => return self.ipv4(rest),
                EtherType::IPV6 => return self.ipv6(rest),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn ipv4(&mut self, packet: &'a [u8]) -> Result<(), Malformed> {
        if packet.len() < 20 {
            return Err(Malformed);
        }
        // The fixed part is enough to know the source: options that are cut off are looked for further down.
        let padded = [packet, &[0; 40]].concat();
        let header = Ipv4HeaderSlice::from_slice(&padded).map_err(|_| Malformed)?;
        self.class = 1;
        self.flow.source = header.source().to_vec();
        self.flow.destination = header.destination().to_vec();
        self.flow.protocol = header.protocol().0;
        self.fragment = header.is_fragmenting_payload();
        if self.fragment {
            self.notes.push(FRAGMENTS);
        }
        let (head, total) = (usize::from(header.ihl()) * 4, usize::from(header.total_len()));
        let whole = total >= head && total <= packet.len();
        if !whole {
            return Err(Malformed);
        }
        self.transport(&packet[head..total], header.fragments_offset().value() != 0)
    }

    fn ipv6(&mut self, packet: &'a [u8]) -> Result<(), Malformed> {
        let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Malformed)?;
        self.class = 1;
        self.flow.source = header.source().to_vec();
        self.flow.destination = header.destination().to_vec();
        let mut next = header.next_header();
        self.flow.protocol = next.0;
        let mut rest = match usize::from(header.payload_length()) {
            0 => &packet[40..],
            length => packet.get(40..40 + length).ok_or(Malformed)?,
        };
        for seen in 0.. {
            let is_extension = matches!(next.0, 0 | 43 | 44 | 51 | 60);
            if seen == 6 || !is_extension {
                if is_extension {
                    self.notes.push(TOO_DEEP);
                }
                return self.transport(rest, false);
            }
            let length;
            (length, next) = match next {
                IpNumber::IPV6_FRAGMENTATION_HEADER => {
                    let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| Malformed)?;
                    self.flow.protocol = header.next_header().0;
                    // etherparse 0.19 takes the bits of this word in another order than RFC 8200, 4.5.
                    let word = u16::from_be_bytes([rest[2], rest[3]]);
                    let (offset, more) = (word >> 3, word & 1);
                    if offset != 0 || more != 0 {
                        self.fragment = true;
                        self.notes.push(FRAGMENTS);
                    }
                    if offset != 0 {
                        return self.transport(&rest[8..], true);
                    }
                    (8, header.next_header())
                }
                IpNumber::AUTHENTICATION_HEADER => {
                    let header = IpAuthHeaderSlice::from_slice(rest).map_err(|_| Malformed)?;
                    (header.slice().len(), header.next_header())
                }
                _ => {
                    let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| Malformed)?;
                    (header.slice().len(), header.next_header())
                }
            };
            self.flow.protocol = next.0;
            rest = &rest[length..];
        }
        Ok(())
    }

    fn transport(&mut self, packet: &'a [u8], later: bool) -> Result<(), Malformed> {
        self.class = match self.flow.protocol {
            6 => 2,
            17 => 3,
            1 => 4,
            58 => 5,
            _ => return Ok(()),
        };
        if later {
            return Ok(());
        }
        match self.class {
            2 => {
                let header = TcpHeaderSlice::from_slice(packet).map_err(|_| Malformed)?;
                self.flow.ports = Some((header.source_port(), header.destination_port()));
                self.sequence = header.sequence_number();
                self.payload = Some(&packet[header.slice().len()..]);
            }
            3 => {
                let header = UdpHeaderSlice::from_slice(packet).map_err(|_| Malformed)?;
                let length = if self.fragment { packet.len() } else { usize::from(header.length()) };
                self.payload = Some(packet.get(8..length).ok_or(Malformed)?);
                self.flow.ports = Some((header.source_port(), header.destination_port()));
            }
            _ if packet.len() < 8 => return Err(Malformed),
            _ => {}
        }
        Ok(())
    }
}
