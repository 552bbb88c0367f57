//! `profiles`: what the profiles hold, and why. Looks at nothing.

use std::fmt::Write;

use crate::{
    health::Health,
    profiles::{Entry, Profile, StaticGoal},
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
    let fields = |fields: &[i64]| fields.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    let goal = match entry.goal {
        StaticGoal::Set(value) => value.to_owned(),
        StaticGoal::AtLeast(least) => format!("at least {}", fields(least)),
        StaticGoal::AtMost(most) => format!("at most {}", fields(most)),
    };
    let seal = if entry.seal { "  (seal phase)" } else { "" };
    let _ = writeln!(out, "{} = {goal}{seal}\n    {}", entry.key, entry.why);
    if !entry.guide.is_empty() {
        let _ = writeln!(out, "    {}", entry.guide);
    }
}
