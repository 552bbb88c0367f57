//! Real clients and servers, across a wire.

use std::{
    fs,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    thread,
};

use crate::{
    common::{
        LIVE,
        net::{Wire, ip, xdp},
        ok, sandbox, wait_for,
    },
    court::{CONFIG, HEADER},
    kernel::Edge,
};

/// A server, until the end of the test.
struct Server(Child);

impl Server {
    fn start(words: &str) -> Self {
        let words: Vec<_> = words.split(' ').collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|e| panic!("{words:?}: {e}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every question for an address with one.
fn answer(socket: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let question = &packet[..length];
        let mut reply = question.to_vec();
        let address = question[length - 3] == 1;
        reply[2..8].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(address)]);
        reply[8..12].fill(0);
        if address {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
        }
        socket.send_to(&reply, from).unwrap();
    }
}

/// The text at an offset of an event, up to a NUL.
fn text(event: &[u8], at: usize) -> String {
    let bytes = event[HEADER + 48 + at..].split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn events_name_what_real_clients_ask_for() {
    sandbox(|s| {
        let wire = Wire::new(s, "veth0");
        ip("addr add 10.9.0.1/24 dev veth0");
        wire.there(|| ip("addr add 10.9.0.2/24 dev veth0-p"));
        let mut edge = Edge::load(s, CONFIG);
        s.with(CONFIG, &["attach", "veth0"]).exits(0);
        assert_eq!(xdp("veth0").unwrap().0, "native");
        let client = |words: &str| {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            let output = wire.there(move || ok(Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null())));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut events = |kind: u8| {
            let found: Vec<_> = std::iter::from_fn(|| edge.ring.next()).collect();
            assert!(found.iter().all(|event| event[8] == kind), "{found:?}");
            for event in &found {
                assert_eq!(event[HEADER..HEADER + 4], [10, 9, 0, 2], "the client's address");
                assert_eq!(event[HEADER + 16..HEADER + 20], [10, 9, 0, 1], "the server's address");
            }
            found
        };

        // HTTP, by busybox and curl: two requests on one connection.
        fs::create_dir("/run/www").unwrap();
        s.file("/run/www/hello.txt", "good morning\n");
        let _server = Server::start("busybox httpd -f -p 10.9.0.1:8080 -h /run/www");
        wait_for("the HTTP server", || std::net::TcpStream::connect("10.9.0.1:8080").ok());
        let body = client("curl -s http://10.9.0.1:8080/hello.txt?a=1 -H Host:www.example.org");
        assert_eq!(body, "good morning\n");
        client("curl -s -I http://10.9.0.1:8080/hello.txt");
        let requests: Vec<_> = events(16).iter().map(|event| [0, 8, 72].map(|at| text(event, at))).collect();
        assert_eq!(requests, [["GET", "www.example.org", "/hello.txt?a=1"], ["HEAD", "10.9.0.1:8080", "/hello.txt"]]);

        // DNS, by busybox.
        let socket = UdpSocket::bind("10.9.0.1:53").unwrap();
        thread::spawn(move || answer(&socket));
        let said = client("busybox nslookup host.example.org 10.9.0.1");
        assert!(said.contains("192.0.2.80"), "{said}");
        let questions = events(17);
        assert!(!questions.is_empty());
        for event in questions {
            assert_eq!(event[HEADER + 48 + 8..], *b"\x04host\x07example\x03org\0", "{event:?}");
            assert!([1, 28].contains(&event[HEADER + 48 + 2]), "A or AAAA: {event:?}");
        }

        // TLS, by openssl, and by curl.
        let cert = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 2 \
                    -keyout /run/key.pem -out /run/cert.pem";
        let words: Vec<_> = cert.split_whitespace().collect();
        ok(Command::new(words[0]).args(&words[1..]));
        let _server =
            Server::start("openssl s_server -accept 10.9.0.1:443 -cert /run/cert.pem -key /run/key.pem -www -quiet");
        wait_for("the TLS server", || std::net::TcpStream::connect("10.9.0.1:443").ok());
        client("openssl s_client -connect 10.9.0.1:443 -servername secret.example.org -alpn h2,http/1.1 -no_ign_eof");
        client("curl -s -k --http1.1 -o /dev/null --resolve curl.example.org:443:10.9.0.1 https://curl.example.org/");
        let hellos = events(18);
        let names: Vec<_> = hellos.iter().map(|event| text(event, 72)).collect();
        assert_eq!(names, ["secret.example.org", "curl.example.org"]);
        assert_eq!(text(&hellos[0], 8), "\x02h2\x08http/1.1");
        assert_eq!(text(&hellos[1], 8), "\x08http/1.1");
        assert_eq!(s.counter(&format!("{LIVE}/edge/maps/counters"), 20), 0, "nothing was malformed");
    });
}
