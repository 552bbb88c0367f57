//! `profiles`: what the profiles hold, and why. Looks at nothing.

use std::fmt::Write;

use crate::{
    health::Health,
    profiles::{Entry, Profile},
    report::{complain, say},
};

/// Lists the profiles, or the keys of one.
pub fn profiles(name: Option<&str>) -> Health {
    let mut out = String::new();
    match name {
        None => {
            for profile in Profile::ALL {
                let _ = writeln!(out, "{:<8}  {:>2} keys  {}", profile.name(), profile.keys().len(), profile.summary());
            }
            out += "\nTheir keys, each with its reason: bpfboot profiles NAME\n";
        }
        Some(name) => match Profile::from_name(name) {
            Some(profile) => {
                let _ = writeln!(out, "{}\n", profile.summary());
                profile.keys().iter().for_each(|entry| describe(&mut out, entry));
            }
            None => {
                let names: Vec<_> = Profile::ALL.iter().map(|profile| profile.name()).collect();
                complain(&format!("bpfboot: there is no profile {name:?}; there are: {}\n", names.join(", ")));
                return Health::BadInput;
            }
        },
    }
    say(&out);
    Health::Healthy
}

fn describe(out: &mut String, entry: &Entry) {
    let at_least = if entry.at_least { "at least " } else { "" };
    let seal = if entry.seal { "  (seal phase)" } else { "" };
    let _ = writeln!(out, "{} = {at_least}{}{seal}\n    {}", entry.key, entry.value, entry.why);
    if !entry.guide.is_empty() {
        let _ = writeln!(out, "    {}", entry.guide);
    }
}
