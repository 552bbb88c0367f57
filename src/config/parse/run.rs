//! `[run]`.

use super::{
    super::{
        merge::Setting,
        run::{PassWish, RunSetting, Who},
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
            "groups" => list(reader, item, "[\"video\", 44]", who).map(RunSetting::Groups),
            "keep-caps" => list(reader, item, "[\"CAP_NET_BIND_SERVICE\"]", capability)
                .map(|kept| RunSetting::Keep(kept.into_iter().fold(0, |set, one| set | one))),
            "on-failure" => on_failure(reader, item).map(RunSetting::OnFailure),
            "pass-fds" => list(reader, item, "[\"trace/maps/events\"]", pass).map(RunSetting::Pass),
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

/// Every element through `one`; what is wrong with one of them has been said.
fn list<T>(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    example: &str,
    one: fn(&mut Reader<'_>, Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let array = reader.array(item, &format!("an array, as in {example}"))?;
    Some(array.into_iter().filter_map(|element| one(reader, element)).collect())
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

fn pass(reader: &mut Reader<'_>, item: Item<'_>) -> Option<PassWish> {
    reader.parsed(item, str::parse)
}
