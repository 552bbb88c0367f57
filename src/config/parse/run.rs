//! `[run]`.

use super::{
    super::{
        merge::Setting,
        run::{RunSetting, Who},
        types::symbol,
    },
    reader::{Item, Reader},
};
use crate::privilege;

/// The keys of `[run]`.
pub const RUN_KEYS: &str = "user, group, groups, keep-caps, on-failure, pass-fds";
/// What `on-failure` can be.
pub const ON_FAILURE: &str = "refuse, continue";

/// `[run]`.
pub fn run(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table").unwrap_or_default() {
        let setting = match item.key {
            "user" => who(reader, item).map(RunSetting::User),
            "group" => who(reader, item).map(RunSetting::Group),
            "on-failure" => on_failure(reader, item).map(RunSetting::OnFailure),
            "groups" | "keep-caps" | "pass-fds" => list(reader, item),
            _ => {
                reader.unknown(item, RUN_KEYS);
                None
            }
        };
        if let Some(setting) = setting {
            reader.say(item, format!("run.{}", item.key), Setting::Run(setting));
        }
    }
}

/// An array. What is wrong with an element has been said.
fn list(reader: &mut Reader<'_>, item: Item<'_>) -> Option<RunSetting> {
    let (mut groups, mut keep, mut pass) = (Vec::new(), 0, Vec::new());
    for element in reader.array(item, "an array of strings")? {
        match item.key {
            "groups" => groups.extend(who(reader, element)),
            "keep-caps" => keep |= capability(reader, element).unwrap_or_default(),
            _ => pass.extend(reader.parsed(element, str::parse)),
        }
    }
    Some(match item.key {
        "groups" => RunSetting::Groups(groups),
        "keep-caps" => RunSetting::Keep(keep),
        _ => RunSetting::Pass(pass),
    })
}

/// A name, or a number; the highest one means "none" to the kernel.
fn who(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Who> {
    if item.value.is_integer() {
        let id = reader.number(item, 0, u64::from(u32::MAX) - 1)?;
        return u32::try_from(id).ok().map(Who::Id);
    }
    reader.parsed(item, symbol).map(Who::Name)
}

fn capability(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u64> {
    let name = reader.text(item)?;
    let bit = privilege::capability(name);
    if bit.is_none() {
        reader.mistake(item.at, &format!("unknown capability {name:?}"), "capabilities(7) lists them");
    }
    bit
}

fn on_failure(reader: &mut Reader<'_>, item: Item<'_>) -> Option<bool> {
    match reader.text(item)? {
        "refuse" => Some(false),
        "continue" => Some(true),
        other => {
            reader.not_one_of(item.at, "policy", other, ON_FAILURE);
            None
        }
    }
}
