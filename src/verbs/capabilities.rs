//! `caps`: the capabilities that a configuration takes on this kernel, each with its reason. Writes nothing.

use std::fmt::Write;

use crate::{
    cli::Options,
    config::Config,
    facts::Facts,
    health::Health,
    needed::{Need, Needed},
    privilege,
    report::{Object, Shape, list, say},
};

/// Prints them.
pub fn print(config: &Config, options: &Options) -> Health {
    let facts = Facts::gather();
    let needed = Needed::new(config, &facts, options.allow_untrusted, |_| false);
    say(&match options.shape {
        Shape::Json => document(&needed, &facts),
        Shape::Quiet => needed.names(true).join(" ") + "\n",
        Shape::Lines => text(&needed, &facts),
    });
    Health::Healthy
}

fn text(needed: &Needed, facts: &Facts) -> String {
    let mut out = format!("on Linux {}, as root, and nothing loaded yet\n", facts.release);
    for (title, needs) in [
        ("apply needs", &needed.loading),
        ("run needs besides", &needed.becoming),
        ("the command of run keeps", &needed.kept),
    ] {
        let _ = writeln!(out, "\n{title}");
        for Need { bit, why, optional } in needs {
            let optional = if *optional { " (optional: degraded without)" } else { "" };
            let _ = writeln!(out, "  {:16}  {why}{optional}", privilege::name(*bit));
        }
        if needs.is_empty() {
            out += "  none\n";
        }
    }
    out += "\nafterwards nothing else is needed: pins live on, and who holds a descriptor reads without a capability\n";
    for note in &needed.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn document(needed: &Needed, facts: &Facts) -> String {
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", "caps");
    object.text("kernel", &facts.release);
    object.texts("capabilities", &needed.names(true));
    for (name, needs) in [("apply", &needed.loading), ("run", &needed.becoming), ("afterwards", &needed.kept)] {
        list(object.key(name), needs, "\n", |out, need: &Need| {
            let mut object = Object::new(out);
            object.text("capability", &privilege::name(need.bit));
            object.text("why", &need.why);
            object.key("optional").push_str(if need.optional { "true" } else { "false" });
            object.end();
        });
    }
    object.texts("notes", &needed.notes);
    object.end();
    out.push('\n');
    out
}
