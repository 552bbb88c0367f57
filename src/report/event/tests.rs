use super::*;

/// A record of zeroes with these bytes in it.
fn record(size: usize, kind: Kind, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut record = vec![0; size];
    let header: [(usize, &[u8]); 3] = [
        (offset_of!(Header, time), &12_345_678_901_u64.to_ne_bytes()),
        (offset_of!(Header, kind), &(kind as u32).to_ne_bytes()),
        (offset_of!(Header, size), &(size as u32).to_ne_bytes()),
    ];
    for (at, bytes) in header.iter().chain(parts) {
        record[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    record
}

fn told(record: &[u8]) -> [String; 2] {
    [false, true].map(|json| {
        let mut out = String::new();
        event(&mut out, "here", record, json);
        out
    })
}

fn task() -> Vec<(usize, Vec<u8>)> {
    let number = |n: u32| n.to_ne_bytes().to_vec();
    vec![
        (SUBJECT + offset_of!(Task, pid), number(42)),
        (SUBJECT + offset_of!(Task, tid), number(43)),
        (SUBJECT + offset_of!(Task, uid), number(1000)),
        (SUBJECT + offset_of!(Task, gid), number(100)),
        (SUBJECT + offset_of!(Task, cgroup), 7_u64.to_ne_bytes().to_vec()),
        (SUBJECT + offset_of!(Task, comm), b"a \"b\"\x1b[0m".to_vec()),
    ]
}

fn of_task(size: usize, kind: Kind, parts: &[(usize, &[u8])]) -> [String; 2] {
    let task = task();
    let parts: Vec<(usize, &[u8])> =
        task.iter().map(|(at, bytes)| (*at, bytes.as_slice())).chain(parts.iter().copied()).collect();
    told(&record(size, kind, &parts))
}

const WHO: &str = r#""comm":"a \"b\"\u001b[0m","pid":42,"tid":43,"uid":1000,"gid":100,"cgroup":7"#;

#[test]
fn an_open_is_told() {
    let (length, flags) = (5_u32.to_ne_bytes(), (libc::O_WRONLY | libc::O_CREAT | 0x4000_0000).to_ne_bytes());
    let parts: [(usize, &[u8]); 5] = [
        (offset_of!(Open, directory), &libc::AT_FDCWD.to_ne_bytes()),
        (offset_of!(Open, flags), &flags),
        (offset_of!(Open, mode), &0o644_u32.to_ne_bytes()),
        (offset_of!(Open, length), &length),
        // Behind the length lies what an earlier event left there.
        (offset_of!(Open, path), b"/\xff\n\t\0junk"),
    ];
    let [people, json] = of_task(size_of::<Open>(), Kind::Open, &parts);
    assert_eq!(
        people,
        "    12.345678 open  comm=\"a \\\"b\\\"\\u001b[0m\" pid=42 uid=1000 path=\"/\u{fffd}\\n\\t\" \
         flags=WRONLY|CREAT|0x40000000 mode=0644\n"
    );
    let expected = format!(
        "{{\"time_ns\":12345678901,\"object\":\"here\",\"kind\":\"open\",{WHO},\"path\":\"/\u{fffd}\\n\\t\",\
         \"flags\":1073741889,\"mode\":420,\"directory\":-100}}\n"
    );
    assert_eq!(json, expected);
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
}

#[test]
fn the_words_of_a_command_are_kept_apart() {
    let line = b"ls\0-l\0a b\0";
    let parts: [(usize, &[u8]); 4] = [
        (offset_of!(Exec, file), b"/bin/ls"),
        (offset_of!(Exec, words), &3_u32.to_ne_bytes()),
        (offset_of!(Exec, length), &(line.len() as u32).to_ne_bytes()),
        (offset_of!(Exec, line), line),
    ];
    let [people, json] = of_task(offset_of!(Exec, line) + line.len(), Kind::Exec, &parts);
    assert!(people.ends_with(" file=\"/bin/ls\" command=\"ls\" \"-l\" \"a b\"\n"), "{people}");
    let expected = r#""file":"/bin/ls","command":["ls","-l","a b"],"words":3}"#;
    assert!(json.trim_end().ends_with(expected), "{json}");
    let [people, json] = of_task(offset_of!(Exec, line), Kind::Exec, &[]);
    assert!(people.ends_with(" file=\"\" command=\n") && json.contains("\"command\":[]"), "{people}{json}");
}

#[test]
fn an_exit_has_a_code_or_a_signal() {
    let status = |status: u32, lasted: u64| {
        let parts: [(usize, &[u8]); 2] =
            [(offset_of!(Exit, status), &status.to_ne_bytes()), (offset_of!(Exit, duration), &lasted.to_ne_bytes())];
        of_task(size_of::<Exit>(), Kind::Exit, &parts).map(|text| text.split_once("1000").unwrap().1.trim().to_owned())
    };
    assert_eq!(status(3 << 8, 1_500_000_000)[0], "code=3 ran=1.500000s");
    assert!(status(3 << 8, 15)[1].ends_with(",\"code\":3,\"duration_ns\":15}"));
    assert_eq!(status(0x8b, 0)[0], "signal=11 core=1");
    assert!(status(9, 0)[1].ends_with(",\"signal\":9,\"core\":0}"));
    assert_eq!(status(Exit::UNKNOWN, 0)[0], "code=unknown");
    assert!(status(Exit::UNKNOWN, 0)[1].ends_with(",\"code\":null}"));
}

#[test]
fn what_a_packet_held_is_told_with_its_flow() {
    let flow = |version: u8| -> Vec<(usize, Vec<u8>)> {
        let mut address = [0; 16];
        address[0] = if version == 4 { 10 } else { 0xfd };
        address[3] = 1;
        vec![
            (SUBJECT + offset_of!(Flow, source), address.to_vec()),
            (SUBJECT + offset_of!(Flow, source_port), 4242_u16.to_ne_bytes().to_vec()),
            (SUBJECT + offset_of!(Flow, destination_port), 53_u16.to_ne_bytes().to_vec()),
            (SUBJECT + offset_of!(Flow, interface), 2_u32.to_ne_bytes().to_vec()),
            (SUBJECT + offset_of!(Flow, version), vec![version, 17]),
        ]
    };
    let of_flow = |version, size, kind, parts: &[(usize, &[u8])]| {
        let flow = flow(version);
        let parts: Vec<(usize, &[u8])> =
            flow.iter().map(|(at, bytes)| (*at, bytes.as_slice())).chain(parts.iter().copied()).collect();
        told(&record(size, kind, &parts))
    };
    let name = b"\x03w.w\x07example\x00";
    let parts: [(usize, &[u8]); 3] = [
        (offset_of!(Dns, qtype), &28_u16.to_ne_bytes()),
        (offset_of!(Dns, length), &(name.len() as u32).to_ne_bytes()),
        (offset_of!(Dns, name), name),
    ];
    let [people, json] = of_flow(4, size_of::<Dns>(), Kind::Dns, &parts);
    assert!(
        people.ends_with(
            " dns   source=10.0.0.1 source_port=4242 destination=0.0.0.0 destination_port=53 interface=2 \
             name=w\\046w.example. type=AAAA\n"
        ),
        "{people}"
    );
    let expected = r#""protocol":17,"interface":2,"vlan":0,"name":"w\\046w.example.","type":"AAAA","id":0}"#;
    assert!(json.contains(expected), "{json}");
    let alpn = b"\x02h2\x08http/1.1";
    let parts: [(usize, &[u8]); 4] = [
        (offset_of!(Tls, alpn_length), &(alpn.len() as u16).to_ne_bytes()),
        (offset_of!(Tls, alpn), alpn),
        (offset_of!(Tls, name_length), &3_u32.to_ne_bytes()),
        (offset_of!(Tls, name), b"a.b"),
    ];
    let [people, json] = of_flow(6, size_of::<Tls>(), Kind::Tls, &parts);
    assert!(people.contains(" source=fd00:1:: "), "{people}");
    assert!(people.ends_with(" name=\"a.b\" alpn=\"h2\" \"http/1.1\"\n"), "{people}");
    assert!(json.contains(r#""name":"a.b","alpn":["h2","http/1.1"],"version":0"#), "{json}");
    for text in [people, json] {
        assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn any_bytes_are_told_as_far_as_they_go() {
    for kind in 0..20_u32 {
        for size in 0..=size_of::<Exec>() {
            let mut record = vec![0xff; size];
            record.iter_mut().skip(8).zip(kind.to_ne_bytes()).for_each(|(to, from)| *to = from);
            let [people, json] = told(&record);
            assert!(people.ends_with('\n') && people.lines().count() == 1, "{people}");
            serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        }
    }
}
