//! Packets picked by hand: a case for each path through the parser, and for each way off it.

use crate::packets::{
    IPV4, IPV6, alpn, authentication, ethernet, extension, fragment, hello, ipv4, ipv6, query, sni, tcp, udp,
};

const GET: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nAccept: */*\r\n\r\n";
const NAME: &[u8] = b"\x03www\x07example\x03org\0";

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], IPV4, &ipv4(1, protocol, &[], 0, payload))
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], IPV6, &ipv6(1, next, payload))
}

fn http(sequence: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    v4(6, &tcp(80, sequence, 0, payload.as_ref()))
}

fn dns(payload: &[u8]) -> Vec<u8> {
    v4(17, &udp(53, payload))
}

fn tls(sequence: u32, payload: &[u8]) -> Vec<u8> {
    v4(6, &tcp(443, sequence, 0, payload))
}

fn changed(mut packet: Vec<u8>, at: usize, to: &[u8]) -> Vec<u8> {
    packet[at..at + to.len()].copy_from_slice(to);
    packet
}

/// The cases and their names.
pub fn picked() -> Vec<(&'static str, Vec<u8>)> {
    let mut cases = links();
    cases.extend(networks());
    cases.extend(chains());
    cases.extend(transports());
    cases.extend(requests());
    cases.extend(questions());
    cases.extend(hellos());
    cases
}

fn links() -> Vec<(&'static str, Vec<u8>)> {
    let ip = ipv4(1, 17, &[], 0, &udp(9, b"x"));
    vec![
        ("Ethernet alone", ethernet(&[], 0, b"")),
        ("ARP", ethernet(&[], 0x0806, &[0; 46])),
        ("802.3 with a length", ethernet(&[], 46, &[0x42; 46])),
        ("one tag", ethernet(&[(0x8100, 0x2064)], IPV4, &ip)),
        ("a priority tag", ethernet(&[(0x8100, 0xe000)], IPV4, &ip)),
        ("QinQ", ethernet(&[(0x88a8, 100), (0x8100, 200)], IPV4, &ip)),
        ("old QinQ", ethernet(&[(0x9100, 4095), (0x9100, 1)], IPV4, &ip)),
        ("three tags", ethernet(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], IPV4, &ip)),
        ("QinQ and HTTP", ethernet(&[(0x88a8, 7), (0x8100, 8)], IPV4, &ipv4(1, 6, &[], 0, &tcp(80, 1, 0, GET)))),
        ("a tag and IPv6", ethernet(&[(0x8100, 5)], IPV6, &ipv6(1, 17, &udp(53, &query(NAME, 1))))),
        ("a tag before nothing known", ethernet(&[(0x8100, 5)], 0x88cc, &[0; 20])),
    ]
}

fn networks() -> Vec<(&'static str, Vec<u8>)> {
    let udp = udp(9, b"payload");
    let plain = v4(17, &udp);
    let mut padded = v4(6, &tcp(80, 99, 0, b""));
    padded.resize(60, 0);
    vec![
        ("IPv4 with 40 bytes of options", ethernet(&[], IPV4, &ipv4(1, 17, &[1; 40], 0, &udp))),
        ("IPv4 with options and HTTP", ethernet(&[], IPV4, &ipv4(1, 6, &[1; 12], 0, &tcp(8080, 2, 3, GET)))),
        ("IPv4 of another version", changed(plain.clone(), 14, &[0x55])),
        ("IPv4 with a header of 16 bytes", changed(plain.clone(), 14, &[0x44])),
        ("IPv4 with options that are not there", changed(ethernet(&[], IPV4, &ipv4(1, 17, &[], 0, &[])), 14, &[0x4f])),
        ("IPv4 of length zero", changed(plain.clone(), 16, &[0, 0])),
        ("IPv4 shorter than its header", changed(plain.clone(), 16, &[0, 19])),
        ("IPv4 longer than the frame", changed(plain, 16, &[5, 0])),
        ("IPv4 shorter than the frame", padded),
        ("IPv4 don't fragment", ethernet(&[], IPV4, &ipv4(1, 17, &[], 0x4000, &udp))),
        ("IPv4 first fragment", ethernet(&[], IPV4, &ipv4(1, 6, &[], 0x2000, &tcp(80, 3, 0, GET)))),
        ("IPv4 first fragment of a datagram", changed(ethernet(&[], IPV4, &ipv4(1, 17, &[], 0x2000, &udp)), 38, &[9])),
        ("IPv4 later fragment", ethernet(&[], IPV4, &ipv4(1, 6, &[], 0x2010, &[7; 40]))),
        ("IPv4 last fragment", ethernet(&[], IPV4, &ipv4(1, 17, &[], 16, &[7; 3]))),
        ("IPv4 denied", ethernet(&[], IPV4, &ipv4(6, 17, &[], 0, &udp))),
        ("IPv4 denied by its prefix", ethernet(&[], IPV4, &ipv4(7, 6, &[], 0, &tcp(80, 4, 0, GET)))),
        ("IPv4 denied, ICMP", changed(v4(1, &[8; 8]), 29, &[7])),
        ("IPv4 not denied", ethernet(&[], IPV4, &ipv4(8, 17, &[], 0, &udp))),
        ("IPv4 denied though malformed", changed(ethernet(&[], IPV4, &ipv4(6, 17, &[], 0, &udp)), 16, &[0, 0])),
        ("IPv6 denied", ethernet(&[], IPV6, &ipv6(7, 58, &[128; 8]))),
        ("IPv6 denied, protocol unknown", ethernet(&[], IPV6, &ipv6(7, 132, &[0; 12]))),
        ("IPv6 of another version", changed(v6(17, &udp), 14, &[0x45])),
        ("IPv6 longer than the frame", changed(v6(17, &udp), 18, &[1, 0])),
        ("IPv6 shorter than the frame", changed(v6(17, &[&udp[..], &[0; 9]].concat()), 18, &[0, 15])),
        ("IPv6 without payload", v6(59, b"")),
        ("IPv6 jumbogram", changed(v6(0, &[&[17, 0, 0xc2, 4, 0, 0, 0, 23][..], &udp].concat()), 18, &[0, 0])),
    ]
}

fn chains() -> Vec<(&'static str, Vec<u8>)> {
    let get = tcp(80, 5, 0, GET);
    let ask = udp(53, &query(NAME, 28));
    let six = (0..6).fold(udp(9, b""), |body, n| extension(if n == 0 { 17 } else { 60 }, 0, &body));
    let seven = extension(60, 0, &six);
    vec![
        ("hop by hop", v6(0, &extension(17, 0, &ask))),
        ("destination of 24 bytes", v6(60, &extension(17, 2, &ask))),
        ("routing", v6(43, &extension(6, 1, &get))),
        ("authentication", v6(51, &authentication(6, 4, &get))),
        ("authentication without words", v6(51, &authentication(6, 0, &get))),
        ("all of them", v6(0, &extension(60, 0, &extension(43, 0, &extension(51, 1, &authentication(6, 4, &get)))))),
        ("six", v6(60, &six)),
        ("seven", v6(60, &seven)),
        ("a chain past the end", v6(60, &extension(17, 200, b"")[..40])),
        ("first fragment", v6(44, &fragment(6, 1, &get))),
        ("later fragment", v6(44, &fragment(6, 0x10, &[3; 30]))),
        ("fragment of a whole", v6(44, &fragment(6, 0, &get))),
        ("options before a fragment", v6(60, &extension(44, 0, &fragment(17, 1, &ask)))),
        ("options in a later fragment", v6(44, &fragment(60, 0x11, &[3; 30]))),
        ("authentication in IPv4", v4(51, &authentication(6, 4, &get))),
        ("no next header", v6(60, &extension(59, 0, b"xyz"))),
    ]
}

fn transports() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("TCP without payload", v4(6, &tcp(80, 6, 0, b""))),
        (
            "TCP with ten words of options",
            http(7, GET).split_at(34).0.iter().copied().chain(tcp(80, 7, 10, GET)).collect(),
        ),
        ("TCP with a header of 16 bytes", changed(http(8, GET), 46, &[0x40])),
        ("TCP longer than the packet", changed(v4(6, &tcp(80, 8, 0, b"")), 46, &[0xf0])),
        ("TCP to a port of no interest", v4(6, &tcp(22, 1, 0, b"SSH-2.0\r\n"))),
        ("UDP without payload", v4(17, &udp(53, b""))),
        ("UDP of length zero", changed(v4(17, &udp(53, b"x")), 38, &[0, 0])),
        ("UDP of length seven", changed(v4(17, &udp(53, b"x")), 38, &[0, 7])),
        ("UDP longer than the packet", changed(v4(17, &udp(53, b"x")), 38, &[0, 10])),
        ("UDP shorter than the packet", changed(dns(&[&query(NAME, 1)[..], b"more"].concat()), 38, &[0, 41])),
        ("ICMP echo", v4(1, &[8, 0, 0, 0, 0, 1, 0, 1, 9, 9])),
        ("ICMP cut off", v4(1, &[8, 0, 0, 0])),
        ("ICMPv6", v6(58, &[135; 24])),
        ("ICMPv6 in IPv4", v4(58, &[135; 24])),
        ("SCTP", v4(132, &[0; 12])),
        ("a frame of 3,500 bytes", http(9, [GET, &[b'x'; 3380]].concat())),
    ]
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let long = format!("GET /{} HTTP/1.1\r\nHost: long.example\r\n\r\n", "p".repeat(200));
    let late = |bytes| format!("PUT / HTTP/1.1\r\nX: {}\r\nhOsT:late.example\r\n\r\n", "x".repeat(bytes));
    let names = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "n".repeat(70));
    let lines = format!("GET / HTTP/1.1\n{}Host: deep\n\n", "a:b\n".repeat(60));
    vec![
        ("a request", http(10, GET)),
        ("the same again", http(10, GET)),
        ("another on the same connection", http(11, b"POST /form HTTP/1.1\r\nHost: a\r\n\r\nHost: b\r\n")),
        ("a long target", http(12, &long)),
        ("the host late", http(13, late(300))),
        ("the host at the end of the window", http(14, late(474))),
        ("the host past the window", http(15, late(500))),
        ("a long host", http(16, &names)),
        ("many short lines", http(17, &lines)),
        ("no host", http(18, b"HEAD / HTTP/1.0\r\n\r\nHost: body\r\n")),
        ("the host cut off", http(19, b"OPTIONS * HTTP/1.1\r\nHost: exam")),
        ("no such method", http(20, b"BREW /coffee HTTP/1.1\r\n\r\n")),
        ("HTTP/2", http(21, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("a method alone", http(22, b"GET ")),
        ("a method and no more", http(23, b"DELETE")),
        ("no target", http(24, b"GET  / HTTP/1.1\r\n")),
        ("CONNECT", http(25, b"CONNECT example.org:443 HTTP/1.1\r\nHost:\texample.org\r\n\r\n")),
        ("HTTP/0.9", http(26, b"GET /\r\n")),
        ("sixteen bytes", http(27, b"GET /0123456789\n")),
        ("a tab after the method", http(28, b"GET\t/ HTTP/1.1\r\n")),
    ]
}

fn questions() -> Vec<(&'static str, Vec<u8>)> {
    let labels = |length: usize, count: usize| {
        [[&[length as u8][..], &vec![b'l'; length]].concat().repeat(count), vec![0]].concat()
    };
    vec![
        ("a question", dns(&query(NAME, 1))),
        ("the same again, told again", dns(&query(NAME, 1))),
        ("the root", dns(&query(b"\0", 2))),
        ("a question over IPv6", v6(17, &udp(53, &query(NAME, 28)))),
        ("a name of 255 bytes", dns(&query(&[labels(62, 4)[..252].to_vec(), vec![1, b'x', 0]].concat(), 1))),
        (
            "a name of 257 bytes",
            dns(&query(&[labels(62, 4)[..252].to_vec(), vec![3, b'x', b'y', b'z', 0]].concat(), 1)),
        ),
        ("127 labels", dns(&query(&labels(1, 127), 1))),
        ("128 labels", dns(&query(&labels(1, 128), 1))),
        ("a compression pointer", dns(&query(b"\xc0\x0c", 1))),
        ("a label and a pointer", dns(&query(b"\x03www\xc0\x0c", 1))),
        ("a label of 64 bytes", dns(&query(&labels(64, 1), 1))),
        ("an answer", changed(dns(&query(NAME, 1)), 44, &[0x81])),
        ("an update", changed(dns(&query(NAME, 1)), 44, &[0x28])),
        ("no questions", changed(dns(&query(NAME, 1)), 46, &[0, 0])),
        ("twelve bytes", dns(&query(NAME, 1)[..12])),
    ]
}

fn hellos() -> Vec<(&'static str, Vec<u8>)> {
    let usual = [(10, vec![0, 2, 0, 29]), sni(b"www.example.org"), alpn(&["h2", "http/1.1"]), (43, vec![2, 3, 4])];
    let many = |count: u16| (0..count).map(|n| (100 + n, vec![0])).chain([sni(b"late.example")]).collect::<Vec<_>>();
    let whole = hello(32, 34, &usual);
    vec![
        ("a hello", tls(1, &whole)),
        ("a hello again", tls(1, &whole)),
        ("a hello to 8443 over IPv6", v6(6, &tcp(8443, 1, 8, &whole))),
        ("no extensions", tls(2, &hello(0, 2, &[])[..50])),
        ("an empty list of extensions", tls(3, &hello(0, 2, &[]))),
        ("a long name", tls(4, &hello(32, 34, &[sni(&[b'n'; 300])]))),
        ("many protocols", tls(5, &hello(1, 34, &[alpn(&["http/1.1"; 20])]))),
        ("24 extensions", tls(6, &hello(2, 34, &many(23)))),
        ("25 extensions", tls(7, &hello(3, 34, &many(24)))),
        ("a hello that goes on", tls(8, &whole[..110])),
        ("a server's hello", tls(9, &changed(whole.clone(), 5, &[2]))),
        ("an alert", tls(10, &[21, 3, 3, 0, 2, 2, 40])),
        ("data", tls(11, &[23; 100])),
        ("suites past the end", tls(12, &changed(whole.clone(), 76, &[0xff, 0xff]))),
        ("another type of name", tls(13, &hello(0, 2, &[(0, vec![0, 5, 1, 0, 2, b'a', b'b'])]))),
        ("a name longer than its extension", tls(14, &hello(0, 2, &[(0, vec![0, 5, 0, 0, 9, b'a', b'b'])]))),
        ("two names", tls(15, &hello(0, 2, &[sni(b"first"), sni(b"second")]))),
    ]
}
