//! `report`: the lines and the document of a run once more, and the picture of real runs, held against the document.
//! In a browser: `make browser-test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use common::{Sandbox, Value, compile, object, ok, run, sandbox, say};
use roxmltree::{Document, Node};

const LAST: &str = "/run/bpfboot/report.json";
/// Where the axis of time ends.
const RIGHT: f64 = 1020.0;
const WIDTH: f64 = 1120.0;

/// Reports of runs that differ: what each is, and its document.
fn runs(s: &Sandbox) -> Vec<(&'static str, String)> {
    let mut runs = Vec::new();
    let mut keep = |name, code, args: &[&str]| {
        s.bpfboot(args).exits(code);
        runs.push((name, fs::read_to_string(LAST).unwrap()));
    };
    ok(Command::new("ip").args(["link", "add", "v0", "type", "veth", "peer", "name", "v1"]));
    ok(Command::new("ip").args(["link", "set", "v0", "up"]));
    keep("default", 0, &["apply"]);
    keep("again", 0, &["apply"]);
    keep("attach", 0, &["attach", "v0", "--object", "edge", "--program", "xdp_main"]);
    keep("undo", 0, &["undo"]);

    let tuned = "[sysctl]\n\"net.ipv4.ip_default_ttl\" = 77\n\"net.core.somaxconn\" = 77\n";
    let refused = format!("[object.refused]\npath = \"{}\"\n", object("refused"));
    let failed = s.config("failed.toml", &format!("{tuned}{refused}[object.edge]\npath = \"builtin:edge\"\n"));
    keep("failed", 1, &["-c", failed.to_str().unwrap(), "apply"]);

    let absent = "\"net.core.absent\" = { value = 1, optional = true }\n\"-net.core.absent_too\" = 1\n";
    let waits = "programs.xdp_main = { optional = true, attach = { xdp = \"eth77\", wait = \"100ms\" } }\n";
    let edge = format!("[object.edge]\npath = \"builtin:edge\"\n{waits}");
    let degraded = format!("{tuned}{absent}{refused}optional = true\n{edge}");
    let degraded = s.config("degraded.toml", &degraded);
    keep("degraded", 3, &["-c", degraded.to_str().unwrap(), "apply"]);
    keep("undone", 0, &["undo"]);

    let mut body = String::new();
    for nth in 0..20 {
        let turns = 200 * (nth % 7 + 1);
        writeln!(
            body,
            "SEC(\"xdp\") int p{nth}(struct xdp_md *c) {{ unsigned s = 0; for (int i = 0; i < {turns}; i++) \
             s += bpf_get_prandom_u32(); return s ? 2 : 1; }}"
        )
        .unwrap();
    }
    compile(s, "/run/twenty.o", &body);
    let twenty = s.config("twenty.toml", "[object.twenty]\npath = \"/run/twenty.o\"\n");
    keep("twenty", 0, &["-c", twenty.to_str().unwrap(), "apply"]);

    let slow =
        s.config("slow.toml", &format!("[bpf]\ndeadline = \"100ms\"\n[object.slow]\npath = \"{}\"\n", object("slow")));
    keep("deadline", 1, &["-c", slow.to_str().unwrap(), "apply"]);
    runs
}

fn draw(s: &Sandbox, document: &str) -> String {
    let path = s.file("/run/drawn.json", document);
    s.bpfboot(&["report", "--svg", "-", path.to_str().unwrap()]).exits(0).stdout
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn is(node: &Node<'_, '_>, class: &str) -> bool {
    node.attribute("class").is_some_and(|classes| classes.split(' ').any(|one| one == class))
}

fn tip<'a>(node: Node<'a, '_>) -> &'a str {
    node.children().find(|child| child.has_tag_name("title")).and_then(|title| title.text()).unwrap()
}

/// Holds a picture against the document it was drawn from.
fn judge(name: &str, svg: &str, document: &str) {
    let (xml, json) = (Document::parse(svg).unwrap_or_else(|e| panic!("{name}: {e}")), serde_json::from_str(document));
    let json: Value = json.unwrap();
    let steps = json["steps"].as_array().unwrap();
    let root = xml.root_element();
    let nodes = || root.descendants().filter(Node::is_element);
    assert_eq!((root.tag_name().name(), number(root, "width")), ("svg", WIDTH));
    for word in ["script", "href", "url(", "@import", "foreignObject"] {
        assert!(!svg.contains(word), "{name}: {word}");
    }
    let (verb, health) = (json["verb"].as_str().unwrap(), json["health"].as_str().unwrap());
    assert!(tip(root).starts_with(&format!("bpfboot {verb}: {health} in ")), "{name}: {}", tip(root));

    let us = |step: &Value, name: &str| step[name].as_u64().unwrap_or_else(|| panic!("{name} of {step}")) as f64;
    let end = steps.iter().map(|step| us(step, "at_us") + us(step, "took_us")).fold(us(&json, "took_us"), f64::max);
    let left = nodes().filter(|node| is(node, "grid")).map(|grid| grid.attribute("d").unwrap()).next().unwrap();
    let left: f64 = left[1..].split('.').next().unwrap().parse().unwrap();
    let place = |us: f64| left + us / end * (RIGHT - left);

    // Each step has one row, and each row is a step.
    let mut wanted: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for step in steps {
        let word = format!("{} {}", step["status"].as_str().unwrap(), step["id"].as_str().unwrap());
        wanted.entry(word).or_default().push(step);
    }
    let (mut y, mut row_end) = (0.0, 0.0);
    for row in nodes().filter(|node| is(node, "step")) {
        let word = tip(row).lines().next().unwrap();
        let of_word = wanted.get_mut(word).unwrap_or_else(|| panic!("{name}: {word:?} is no step"));
        let inside = || row.children().filter(Node::is_element);
        let bar = inside().find(|node| is(node, "bar")).unwrap();
        let (x, width) = (number(bar, "x"), number(bar, "width"));
        assert!(x >= left && x + width <= RIGHT + 0.05, "{name}: {word} is at {x} + {width}");
        // The one of these that is drawn here.
        let near = |step: &&Value| {
            let (from, to) = (place(us(step, "at_us")), place(us(step, "at_us") + us(step, "took_us")));
            let fits = (width - (to - from)).abs() < 0.21 || width == 2.5 && to - from < 2.7;
            fits && ((x - from).abs() < 0.11 || x + width > RIGHT - 0.11)
        };
        let at = of_word.iter().position(near).unwrap_or_else(|| panic!("{name}: {word} at {x}, {width}"));
        let step = of_word.remove(at);
        let texts: Vec<&str> =
            inside().filter(|node| node.has_tag_name("text")).filter_map(|text| text.text()).collect();
        assert!(texts[0] == step["id"] || texts[0].contains('…'), "{name}: {texts:?}");
        let failed = step["status"] == "failed";
        assert_eq!(
            inside().any(|node| is(&node, "icon") && (is(&node, "failed") || is(&node, "degraded"))),
            failed && step["must"] != "best-effort",
            "{name}: {word}"
        );
        if failed && step["must"] != "best-effort" {
            assert!(is(&row, if step["must"] == "required" { "bad" } else { "weak" }), "{name}: {word}");
            let told = texts[1..].join(" ");
            for word in step["fault"]["what"].as_str().unwrap().split(' ') {
                assert!(told.contains(word), "{name}: {word:?} is not in {told:?}");
            }
            let mend = step["fault"]["mend"].as_str().unwrap();
            assert!(mend.is_empty() || told.contains(&format!("mend: {}", mend.split(' ').next().unwrap())), "{told}");
        }
        // In a group, time goes down.
        let area = inside().find(|node| is(node, "area")).unwrap();
        if number(area, "y") > y {
            row_end = 0.0;
        }
        assert!(x >= row_end - 0.05, "{name}: {word} comes too late");
        (y, row_end) = (number(area, "y") + number(area, "height"), x);
    }
    wanted.retain(|_, left| !left.is_empty());
    assert!(wanted.is_empty(), "{name}: not drawn: {:?}", wanted.keys());
}

#[test]
fn the_picture_is_the_run() {
    let runs = sandbox(|s| runs(s).into_iter().map(|(name, json)| (name, draw(s, &json), json)).collect::<Vec<_>>());
    for (name, svg, json) in &runs {
        judge(name, svg, json);
    }
}

#[test]
fn loads_at_once_are_side_by_side() {
    let runs = sandbox(|s| runs(s).into_iter().map(|(name, json)| (name, draw(s, &json), json)).collect::<Vec<_>>());
    let (_, svg, json) = runs.iter().find(|(name, ..)| *name == "twenty").unwrap();
    let json: Value = serde_json::from_str(json).unwrap();
    let steps = json["steps"].as_array().unwrap();
    let programs: Vec<(u64, u64)> = steps
        .iter()
        .filter(|step| step["id"].as_str().unwrap().starts_with("program "))
        .map(|step| {
            (step["at_us"].as_u64().unwrap(), step["at_us"].as_u64().unwrap() + step["took_us"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(programs.len(), 20);
    let at_once =
        programs.iter().map(|(at, _)| programs.iter().filter(|(from, to)| from <= at && at < to).count()).max();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(at_once, Some(cpus.min(20)), "each CPU verifies one");
    let xml = Document::parse(svg).unwrap();
    let mut lanes: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for group in xml.descendants().filter(|node| node.has_tag_name("g") && !is(node, "step")) {
        if let Some(bar) = group.children().find(|node| is(node, "bar") && !is(node, "band") && !is(node, "look")) {
            let (x, width) = (number(bar, "x"), number(bar, "width"));
            lanes.entry(bar.attribute("y").unwrap().to_owned()).or_default().push((x, x + width));
        }
    }
    assert_eq!(lanes.len(), cpus.min(20));
    assert_eq!(lanes.values().map(Vec::len).sum::<usize>(), 20);
    for lane in lanes.values() {
        assert!(lane.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 0.11), "{lane:?}");
    }
    // What is in an object is begun when the object is, and loaded when it is open.
    let time = |id: &str| {
        let step = steps.iter().find(|step| step["id"] == id).unwrap();
        (step["at_us"].as_u64().unwrap(), step["at_us"].as_u64().unwrap() + step["took_us"].as_u64().unwrap())
    };
    let object = time("object twenty");
    assert!(programs.iter().all(|(at, _)| *at >= object.1), "{object:?} {programs:?}");
    assert!(time("pins /sys/fs/bpf/bpfboot/live").0 >= programs.iter().map(|(_, to)| *to).max().unwrap());
    assert!(time("privileges").1 <= json["took_us"].as_u64().unwrap());
}

#[test]
fn the_moment_is_the_one_it_began() {
    let document = sandbox(|s| {
        s.bpfboot(&["apply"]).exits(0);
        fs::read_to_string(LAST).unwrap()
    });
    let json: Value = serde_json::from_str(&document).unwrap();
    let date = ok(Command::new("date").args(["+%s%3N", "-d", json["began"].as_str().unwrap()]));
    let began: u128 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(began <= now && now - began < 60_000, "{began} {now}");
    let steps = json["steps"].as_array().unwrap();
    let time = |id: &str| {
        let step = steps.iter().find(|step| step["id"] == id).unwrap();
        (step["at_us"].as_u64().unwrap(), step["at_us"].as_u64().unwrap() + step["took_us"].as_u64().unwrap())
    };
    for [one, other] in [
        ["mount bpf /sys/fs/bpf", "object edge"],
        ["object edge", "object trace"],
        ["object edge", "map edge/events"],
        ["object trace", "map trace/events"],
        ["map edge/events", "program edge/http"],
        ["program edge/http", "link trace/trace_exec"],
        ["link trace/trace_exec", "pins /sys/fs/bpf/bpfboot/live"],
        ["pins /sys/fs/bpf/bpfboot/live", "privileges"],
    ] {
        assert!(time(one).1 <= time(other).0, "{one} {:?}, {other} {:?}", time(one), time(other));
    }
}

#[test]
fn it_says_again_what_the_run_said() {
    sandbox(|s| {
        for (verb, code) in [(&["apply"][..], 0), (&["undo"], 0)] {
            let said = s.bpfboot(verb).exits(code).stdout;
            let again = s.bpfboot(&["report"]).exits(0).stdout;
            let steps = |text: &str| {
                let upto = text.find("\nbpfboot ").unwrap();
                text[..upto + 1 + text[upto + 1..].find('\n').unwrap()].to_owned()
            };
            assert_eq!(steps(&said), steps(&again));
            assert!(again.contains("note: the report of 20") && !again.contains("to take it back"), "{again}");
            let document = fs::read_to_string(LAST).unwrap();
            assert_eq!(s.bpfboot(&["report", "--json"]).exits(0).stdout, document, "as it is");
            assert!(s.bpfboot(&["--quiet", "report"]).exits(0).stdout.starts_with("bpfboot "));
        }
        let refused = format!("[object.refused]\npath = \"{}\"\n", object("refused"));
        let config = s.config("failed.toml", &refused);
        let said = s.bpfboot(&["-c", config.to_str().unwrap(), "apply"]).exits(1).stdout;
        let again = s.bpfboot(&["report"]).exits(0).stdout;
        for line in said.lines().filter(|line| !line.starts_with("  report: ")) {
            assert!(again.contains(line), "{line:?} is not in {again}");
        }
        // Of a check, by a pipe, and by who is nobody.
        let pipe = "bpfboot check --json | bpfboot report --svg /run/check.svg - && bpfboot report | grep -c FAILED";
        let dir = common::binary().parent().unwrap().to_owned();
        let shell = ok(Command::new("sh").args(["-c", pipe]).env("PATH", format!("{}:/usr/bin:/bin", dir.display())));
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), "1\n");
        assert!(Document::parse(&fs::read_to_string("/run/check.svg").unwrap()).is_ok());
    });
}

#[test]
fn what_is_no_report_is_refused() {
    sandbox(|s| {
        let ran = s.bpfboot(&["report"]).exits(2);
        assert!(
            ran.stderr.contains("no report of a run: No such file") && ran.stderr.contains("mend: bpfboot apply"),
            "{ran:?}"
        );
        s.bpfboot(&["apply"]).exits(0);
        let whole = fs::read_to_string(LAST).unwrap();
        for (text, why) in [
            ("", "is not as JSON has it"),
            (&whole[..whole.len() / 2], "is not as JSON has it"),
            ("{}", "it has no steps"),
            ("[]", "it has no steps"),
            (&whole.replace("\"done\"", "\"gone\""), " is not what this bpfboot writes"),
            (&whole.replace("\"took_us\":", "\"took_us\":-1"), "what this bpfboot writes"),
        ] {
            let path = s.file("/run/odd.json", text);
            let ran = s.bpfboot(&["report", path.to_str().unwrap()]).exits(2);
            assert!(ran.stderr.contains("no report of a run") && ran.stderr.contains(why), "{why}: {ran:?}");
        }
        s.bpfboot(&["report", "/run/absent.json"]).exits(2);
        s.bpfboot(&["report", "--svg", "/run/absent/run.svg"]).exits(1);
        // Of an earlier bpfboot: its lines are there, its times are not.
        let mut old: Value = serde_json::from_str(&whole).unwrap();
        old.as_object_mut().unwrap().remove("began");
        for step in old["steps"].as_array_mut().unwrap() {
            step.as_object_mut().unwrap().remove("at_us");
        }
        let path = s.file("/run/old.json", &old.to_string());
        s.bpfboot(&["report", path.to_str().unwrap()]).exits(0);
        let ran = s.bpfboot(&["report", "--svg", "-", path.to_str().unwrap()]).exits(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("at_us is missing: an earlier bpfboot wrote"), "{ran:?}");
    });
}

#[test]
fn no_text_breaks_the_picture() {
    sandbox(|s| {
        s.bpfboot(&["apply"]).exits(0);
        let mut json: Value = serde_json::from_str(&fs::read_to_string(LAST).unwrap()).unwrap();
        let evil = format!(
            "</text><script>&amp;]]>\"'\u{0}\u{1b}[31m\u{202e}\u{fffe}\u{ffff}\u{200b}é😀漢{}",
            "字x".repeat(90)
        );
        for (nth, step) in json["steps"].as_array_mut().unwrap().iter_mut().enumerate() {
            for name in ["id", "note", "was", "now"] {
                step[name] = evil[evil.char_indices().nth(nth % 30).unwrap().0..].into();
            }
            step["status"] =
                ["done", "failed", "drift", "planned", "undone", "skipped", "already", "warn"][nth % 8].into();
            let fault = serde_json::json!({"cause": "pin", "what": evil, "errno": 13, "errno_name": "EACCES", "mend": evil, "detail": evil});
            step["fault"] = if nth % 8 == 1 { fault } else { Value::Null };
            step["took_us"] = [0, 1, u64::MAX >> 1][nth % 3].into();
        }
        for name in ["verb", "kernel", "began"] {
            json[name] = evil.as_str().into();
        }
        for name in ["notes", "leftovers", "sources"] {
            json[name] = vec![evil.as_str(); 3].into();
        }
        let svg = draw(s, &json.to_string());
        let xml = Document::parse(&svg).unwrap();
        assert!(!xml.descendants().any(|node| node.has_tag_name("script")));
        assert!(svg.chars().all(|c| c == '\n' || !c.is_control()), "nothing drives a terminal");
        let rows = xml.descendants().filter(|node| is(node, "step")).count();
        assert_eq!(rows, json["steps"].as_array().unwrap().len());
        for bar in xml.descendants().filter(|node| is(node, "bar")) {
            assert!(number(bar, "x") + number(bar, "width") <= RIGHT + 0.05);
        }
        // Nothing to tell is a picture, too.
        json["steps"] = Vec::<Value>::new().into();
        json["took_us"] = 0.into();
        assert!(Document::parse(&draw(s, &json.to_string())).is_ok());
    });
}

/// What a browser makes of a picture: its texts and where they are, looked at by a script in a page around it.
const PAGE: &str = include_str!("report/page.html");

#[test]
#[ignore = "slow: make browser-test"]
fn a_browser_shows_it_well() {
    let pictures = sandbox(|s| runs(s).into_iter().map(|(name, json)| (name, draw(s, &json))).collect::<Vec<_>>());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    fs::create_dir_all(&dir).unwrap();
    for (name, svg) in pictures {
        let file = dir.join(format!("{name}.svg"));
        fs::write(&file, &svg).unwrap();
        fs::write(dir.join("page.html"), PAGE.replace("@picture@", &svg)).unwrap();
        let height = Document::parse(&svg).unwrap().root_element().attribute("height").unwrap().to_owned();
        for (scheme, word) in [("1", "light"), ("0", "dark")] {
            let browser = |args: &[&str], file: &Path| {
                let mut browser = Command::new("chromium-headless-shell");
                browser.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]).args(args);
                browser.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
                run(browser.arg(format!("--window-size=1120,{height}")).arg(format!("file://{}", file.display())))
                    .exits(0)
            };
            let shot = dir.join(format!("{name}-{word}.png"));
            browser(&[&format!("--screenshot={}", shot.display())], &file);
            assert!(fs::metadata(&shot).unwrap().len() > 1000);
            let dom = browser(&["--dump-dom"], &dir.join("page.html")).stdout;
            let found = dom.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
            say(&format!("{name}, {word}: {found}"));
            assert!(found.starts_with(&format!("{word}, ")) && found.ends_with("none amiss"), "{name}: {found}");
        }
    }
    say(&format!("screenshots: {}", dir.display()));
}
