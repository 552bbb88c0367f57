//! One text into settings, and every mistake in it: the grammar's top level and its small sections.

mod attach;
mod object;
mod reader;
mod recover;
mod run;
mod settings;
mod tuning;
mod units;

use toml::de::DeTable;

use self::reader::{Reader, items};
use super::{
    merge::{Draft, Setting},
    mistake::{Mistake, Mistakes},
};
use crate::profiles::Profile;

/// The tables and keys of the top level.
pub const TOP_KEYS: &str = "profiles, sysctl, knobs, limits, mounts, bpf, run, object";

/// Most marks (`. = { } [ ] ,` and line ends) in a file. Each can cost a table of 1.4 KB, so that a file of 1 MiB
/// could take 600 MB; with this cap the worst takes some 60 MB.
const MAX_MARKS: usize = 40_000;

/// Parses one text; `label` names it in messages and origins.
pub fn parse(label: &str, text: &str, mistakes: &mut Mistakes) -> Draft {
    let marks = text.bytes().filter(|byte| b".={}[],\n".contains(byte)).count();
    if marks > MAX_MARKS {
        let what = format!("holds {marks} settings, separators and lines, more than {MAX_MARKS}");
        mistakes.push(Mistake::whole(label, &what, "split it into several files"));
        return Draft::default();
    }
    let mut reader = Reader::new(label, text, mistakes);
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        top(&mut reader, root.get_ref());
    } else if let Some(text) = recover::recover(&mut reader, text) {
        top(&mut reader, DeTable::parse_recoverable(&text).0.get_ref());
    } else {
        reader.mistake((text.len()..text.len()).into(), "more syntax errors", "mend those above first");
    }
    reader.finish()
}

fn top(reader: &mut Reader<'_>, root: &DeTable<'_>) {
    for item in items(root) {
        match item.key {
            "profiles" => profiles(reader, item),
            "sysctl" => tuning::sysctls(reader, item),
            "knobs" => tuning::knobs(reader, item),
            "limits" => settings::limits(reader, item),
            "mounts" => settings::mounts(reader, item),
            "bpf" => settings::bpf(reader, item),
            "run" => run::run(reader, item),
            "object" => object::objects(reader, item),
            key if tuning::is_sysctl_root(key) => {
                let what = format!("unknown key {key:?} outside of any table");
                reader.mistake(item.key_at, &what, "sysctls belong under [sysctl]");
            }
            _ => reader.unknown(item, TOP_KEYS),
        }
    }
}

fn profiles(reader: &mut Reader<'_>, item: reader::Item<'_>) {
    let Some(array) = reader.array(item, "an array of profile names, as in [\"core\", \"tracing\"]") else { return };
    let mut profiles: Vec<Profile> = Vec::new();
    for element in array {
        match reader.text(element).map(|name| (Profile::from_name(name), name)) {
            None => {}
            Some((Some(profile), name)) if profiles.contains(&profile) => {
                reader.mistake(element.at, &format!("the profile {name:?} is named twice"), "");
            }
            Some((Some(profile), _)) => profiles.push(profile),
            Some((None, name)) => reader.not_one_of(element.at, "profile", name, Profile::NAMES),
        }
    }
    reader.say(item, "profiles".to_owned(), Setting::Profiles(profiles));
}

#[cfg(test)]
mod tests;
