//! `explain`: what is known of an errno, a cause, a reason, a capability or a key. Writes nothing.

use std::fmt::Write;

use crate::{
    cli::{Options, nearest},
    config::SysctlKey,
    error::{self, errno_text},
    health::Health,
    knowledge::{Page, pages},
    profiles::Profile,
    report::{Object, Shape, clean, complain, list, say},
    sys::file,
    tune::sysctl::about,
};

/// What is said of a topic.
struct Topic {
    kind: &'static str,
    name: String,
    who: &'static str,
    lines: Vec<String>,
    mend: &'static str,
}

/// Explains one topic, or lists them all.
pub fn explain(word: Option<&str>, options: &Options) -> Health {
    let Some(word) = word else {
        say(&topics(options.shape));
        return Health::Healthy;
    };
    let mut found: Vec<Topic> = errno(word).into_iter().chain(key(word)).collect();
    let named = |page: &Page| page.is_named(word) && !found.iter().any(|topic| topic.name == page.name());
    let more: Vec<Topic> = pages().filter(|page| page.kind != "key" && named(page)).map(of_page).collect();
    found.extend(more);
    if found.is_empty() {
        complain(&format!("bpfboot: there is nothing about '{}'{}\n", clean(word), meant(word)));
        return Health::BadInput;
    }
    say(&match options.shape {
        Shape::Json => document(&found),
        _ => found.iter().map(told).collect::<Vec<_>>().join("\n"),
    });
    Health::Healthy
}

fn of_page(page: Page) -> Topic {
    let lines = page.text.lines().map(str::to_owned).collect();
    Topic { kind: page.kind, name: page.name().to_owned(), who: page.who, lines, mend: page.mend }
}

/// By number or by name.
fn errno(word: &str) -> Option<Topic> {
    let number = error::errno_of(word)?;
    let name = error::errno_name(number);
    let mut lines = vec![format!("{number}: {}", errno_text(number))];
    let page = pages().find(|page| page.kind == "errno" && page.is_named(&name));
    lines.extend(page.into_iter().flat_map(|page| page.text.lines()).map(str::to_owned));
    Some(Topic { kind: "errno", name, who: "", lines, mend: "" })
}

/// A key by its dotted name, its path, or the end of it.
fn key(word: &str) -> Option<Topic> {
    let word = word.strip_prefix("/proc/sys/").unwrap_or(word);
    let dotted = |name: &str| name.replace('/', ".");
    let ends = |name: &str| name == dotted(word) || name.ends_with(&format!(".{word}"));
    let entries =
        || Profile::ALL.into_iter().flat_map(|profile| profile.keys().into_iter().map(move |key| (profile, key)));
    let known = pages().filter(|page| page.kind == "key").map(|page| page.name());
    let name = known.chain(entries().map(|(_, entry)| entry.key)).find(|name| ends(name)).map(str::to_owned);
    let there = |name: &String| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        name.contains('.') && matches!(file::exists(path.as_ref()), Ok(true))
    };
    let name = name.or_else(|| Some(dotted(word)).filter(there))?;
    let path = name.parse::<SysctlKey>().ok()?.path().to_owned();
    let page = pages().find(|page| page.kind == "key" && page.is_named(&name));
    let mut lines: Vec<String> = page.into_iter().flat_map(|page| page.text.lines()).map(str::to_owned).collect();
    lines.extend(about(&path));
    for (profile, entry) in entries().filter(|(_, entry)| entry.key == name) {
        let least = if entry.at_least { "at least " } else { "" };
        lines.push(format!("profile {}: {least}{}: {}", profile.name(), entry.value, entry.why));
        lines.extend(Some(entry.guide.to_owned()).filter(|guide| !guide.is_empty()));
    }
    let now = file::text(format!("/proc/sys/{path}")).map(|text| format!("here: {}", clean(text.trim())));
    lines.push(now.unwrap_or_else(|error| format!("here: {error}")));
    Some(Topic { kind: "key", name, who: "", lines, mend: "" })
}

fn told(topic: &Topic) -> String {
    let mut out = format!("{} ({})\n", topic.name, topic.kind);
    let mut row = |text: &str| {
        let _ = writeln!(out, "    {text}");
    };
    topic.lines.iter().for_each(|line| row(line));
    if !topic.who.is_empty() {
        row(&format!("who refuses: {}", topic.who));
    }
    if !topic.mend.is_empty() {
        row(&format!("mend: {}", topic.mend));
    }
    out
}

fn document(topics: &[Topic]) -> String {
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", "explain");
    list(object.key("topics"), topics, "\n", |out, topic| {
        let mut object = Object::new(out);
        object.text("kind", topic.kind);
        object.text("name", &topic.name);
        object.text("who", topic.who);
        object.text("text", &topic.lines.join("\n"));
        object.text("mend", topic.mend);
        object.end();
    });
    object.end();
    out.push('\n');
    out
}

const KINDS: [(&str, &str); 5] = [
    ("cause", "causes, which the report calls cause"),
    ("reason", "reasons, finer, which it calls reason"),
    ("errno", "errnos, these and any other by number or name"),
    ("capability", "capabilities"),
    ("key", "keys, these and any other that is there"),
];

fn topics(shape: Shape) -> String {
    let names = |kind: &str| pages().filter(|page| page.kind == kind).map(|page| page.name()).collect::<Vec<_>>();
    let mut out = String::new();
    if shape == Shape::Json {
        let mut object = Object::new(&mut out);
        object.text("bpfboot", env!("CARGO_PKG_VERSION"));
        object.text("verb", "explain");
        for (kind, _) in KINDS {
            object.texts(kind, &names(kind).into_iter().map(str::to_owned).collect::<Vec<_>>());
        }
        object.end();
        return out + "\n";
    }
    for (kind, title) in KINDS {
        let _ = writeln!(out, "{title}");
        let mut width = usize::MAX;
        for name in names(kind) {
            if width > 72 {
                out += if width == usize::MAX { "   " } else { "\n   " };
                width = 0;
            }
            width += name.len() + 1;
            let _ = write!(out, " {name}");
        }
        out += "\n\n";
    }
    out + "one of them in full: bpfboot explain TOPIC\n"
}

fn meant(word: &str) -> String {
    let pages: Vec<&str> = pages().flat_map(|page| page.names.split(' ')).collect();
    let end = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let known: Vec<&str> = pages.iter().copied().chain(pages.iter().map(|name| end(name))).collect();
    let low = word.to_ascii_lowercase();
    let near = nearest(word, &known.join(", ")).map(str::to_owned);
    let near = near.or_else(|| nearest(&low, &known.join(", ").to_ascii_lowercase()).map(str::to_owned));
    near.map_or_else(|| "; all topics: bpfboot explain".to_owned(), |near| format!("; did you mean '{near}'?"))
}
