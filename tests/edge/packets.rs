//! Packets: put together by hand, and made at random from those.

/// Ethertypes.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

/// A frame with tags, each an ethertype and what stands in it.
pub fn ethernet(tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (ethertype, tag) in tags {
        frame.extend(ethertype.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// IPv4 from 198.51.100.`host`.
pub fn ipv4(host: u8, protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let head = 20 + options.len();
    let mut packet = vec![0x40 | (head / 4) as u8, 0];
    packet.extend(((head + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 198, 51, 100, host, 203, 0, 113, 9]);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// IPv6 from 2001:db8::`host`.
pub fn ipv6(host: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

/// An extension header of `8 + 8 * more` bytes before a payload.
pub fn extension(next: u8, more: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![next, more, 1, 4, 0, 0, 0, 0];
    packet.resize(8 + 8 * usize::from(more), 0);
    packet.extend(payload);
    packet
}

/// An authentication header of `8 + 4 * words` bytes.
pub fn authentication(next: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![next, words];
    packet.resize(8 + 4 * usize::from(words), 3);
    packet.extend(payload);
    packet
}

/// A fragment header; `offset` with its flags.
pub fn fragment(next: u8, offset: u16, payload: &[u8]) -> Vec<u8> {
    [&[next, 0], &offset.to_be_bytes()[..], &[0, 0, 0, 5], payload].concat()
}

/// A segment with `words` words of options.
pub fn tcp(port: u16, sequence: u32, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = 40000_u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 1, (5 + words) << 4, 0x18, 1, 0, 0, 0, 0, 0]);
    segment.resize(20 + 4 * usize::from(words), 1);
    segment.extend(payload);
    segment
}

/// A datagram.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 50000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// A query for names as they are on the wire.
pub fn query(name: &[u8], qtype: u16) -> Vec<u8> {
    [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &qtype.to_be_bytes(), &[0, 1]].concat()
}

/// A vector behind its length.
pub fn vector(bytes: usize, of: &[u8]) -> Vec<u8> {
    [&of.len().to_be_bytes()[8 - bytes..], of].concat()
}

/// The two extensions that are looked for.
pub fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (0, vector(2, &[&[0][..], &vector(2, name)].concat()))
}

/// Likewise.
pub fn alpn(protocols: &[&str]) -> (u16, Vec<u8>) {
    (16, vector(2, &protocols.iter().flat_map(|name| vector(1, name.as_bytes())).collect::<Vec<u8>>()))
}

/// A ClientHello.
pub fn hello(session: usize, suites: usize, extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> =
        extensions.iter().flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &vector(2, body)].concat()).collect();
    let body = [
        vec![3, 3],
        vec![0xaa; 32],
        vector(1, &vec![0xbb; session]),
        vector(2, &vec![0x13; suites]),
        vector(1, &[0]),
        vector(2, &list),
    ]
    .concat();
    [vec![22, 3, 1], vector(2, &[vec![1], vector(3, &body)].concat())].concat()
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    /// One below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// Some bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }

    /// One of them.
    pub fn of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        &choice[self.below(choice.len())]
    }

    /// A payload that may be what its port promises.
    fn payload(&mut self, port: u16) -> Vec<u8> {
        let name = self.bytes(40);
        match port {
            80 | 8080 => {
                let method = *self.of(&["GET", "POST", "HEAD", "DELETE", "OPTIONS", "get", "PRI", "CONNECT"]);
                let mut text = format!("{method} /{}", "p".repeat(self.below(150))).into_bytes();
                text.extend(*self.of(&[&b" HTTP/1.1\r\n"[..], b"\n", b"", b" "]));
                for _ in 0..self.below(6) {
                    text.extend(*self.of(&[&b"Accept: */*\r\n"[..], b"X: y\r\n", b"a:b\n", b"\r\n", b"\n\n"]));
                    text.extend(format!("X-{}: 1\r\n", "x".repeat(self.below(90))).into_bytes());
                }
                text.extend(*self.of(&[&b"Host: "[..], b"host:", b"HOST:  ", b"hosts: ", b"Host: \t"]));
                text.extend("h".repeat(self.below(80)).bytes());
                text.extend(*self.of(&[&b"\r\n\r\n"[..], b"\n", b""]));
                text
            }
            53 => {
                let mut wire = Vec::new();
                let most = if self.below(8) == 0 { 140 } else { 6 };
                for _ in 0..self.below(most) {
                    let most = if self.below(20) == 0 { 200 } else { 12 };
                    let length = self.below(most);
                    wire.push(length as u8);
                    wire.extend((0..length).map(|_| b'n'));
                }
                wire.extend(*self.of(&[&[0][..], &[0], &[0xc0, 12], &[]]));
                query(&wire, 28)
            }
            _ => {
                let mut extensions: Vec<_> = (0..self.below(28)).map(|n| (n as u16 + 20, self.bytes(30))).collect();
                for found in [sni(&name), alpn(&["h2", "http/1.1"]), sni(&self.bytes(300)), alpn(&["x"; 50])] {
                    if self.below(3) == 0 {
                        extensions.insert(self.below(extensions.len() + 1), found);
                    }
                }
                hello(self.below(33), self.below(80), &extensions)
            }
        }
    }

    /// A packet made layer by layer.
    pub fn packet(&mut self) -> Vec<u8> {
        let port = *self.of(&[80, 8080, 443, 8443, 53, 53, 22, 0]);
        let payload = if self.below(8) == 0 { self.bytes(100) } else { self.payload(port) };
        let (sequence, words) = (self.below(3) as u32, self.below(11) as u8);
        let (mut protocol, mut body) = match self.below(12) {
            0 => (1, self.bytes(20)),
            1 => (58, self.bytes(20)),
            2 => (self.byte(), self.bytes(40)),
            3..6 => (17, udp(port, &payload)),
            _ if port == 53 => (17, udp(port, &payload)),
            _ => (6, tcp(port, sequence, words, &payload)),
        };
        let host = self.below(40) as u8;
        let mut kind = IPV6;
        if self.below(2) == 0 {
            for _ in 0..self.below(3) * self.below(4) {
                let kind = *self.of(&[0, 43, 60, 60, 51, 44]);
                body = match kind {
                    51 => authentication(protocol, self.below(5) as u8, &body),
                    44 => fragment(protocol, *self.of(&[0, 0, 1, 8, 0xfff9]), &body),
                    _ => extension(protocol, self.below(3) as u8, &body),
                };
                protocol = kind;
            }
            body = ipv6(host, protocol, &body);
        } else {
            let options = vec![1; 4 * self.below(3) * self.below(6)];
            let fragment = *self.of(&[0, 0, 0, 0x4000, 0x2000, 0x2001, 1]);
            (kind, body) = (IPV4, ipv4(host, protocol, &options, fragment, &body));
        }
        let tags: Vec<_> = (0..*self.of(&[0, 0, 0, 1, 2, 3]))
            .map(|_| (*self.of(&[0x8100, 0x88a8, 0x9100]), self.below(1 << 16) as u16))
            .collect();
        let kind = if self.below(30) == 0 { self.below(1 << 16) as u16 } else { kind };
        let mut frame = ethernet(&tags, kind, &body);
        frame.extend(vec![0; self.below(2) * self.below(20)]);
        frame
    }

    /// Spoils a packet: bytes changed, cut off, put in.
    pub fn mutate(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.below(4) {
            // Headers are worth most.
            let most = if self.below(2) == 0 { packet.len().min(80) } else { packet.len() };
            let at = self.below(most.max(1));
            let byte = self.byte();
            match self.below(4) {
                0 => packet.truncate(at.max(14)),
                1 => packet.insert(at.min(packet.len()), byte),
                _ if at < packet.len() => packet[at] = *self.of(&[0, 1, 4, 255, 0x45, 0x60, byte]),
                _ => {}
            }
        }
        packet.resize(packet.len().clamp(14, 3500), 0);
        packet
    }
}
