//! What is said, held against what is there: the exit code, and every word of the report that the kernel can confirm.

use serde_json::Value;

use crate::{
    Known,
    judge::{Pin, State, difference},
};

const LIVE: &str = "/sys/fs/bpf/bpfboot/live";

/// What is wrong with an end by exit code: `ends` are the lines of the state before and after an undisturbed run.
pub fn wrong_end(code: i32, json: &Value, (before, is): (&State, &State), ends: (&[String], &[String])) -> Vec<String> {
    let mut wrong = lies(json, before, is, code);
    let lines = is.lines();
    let off = |wanted: &[String]| {
        difference(&lines, wanted).into_iter().filter(|line| !admitted(json, line)).collect::<Vec<_>>()
    };
    match code {
        0 | 3 => wrong.extend(off(ends.1).into_iter().map(|line| format!("exit {code}, and {line}"))),
        1 | 2 => wrong.extend(off(ends.0).into_iter().map(|line| format!("exit {code}, and {line}"))),
        4 => wrong.extend(unnamed(json, off(ends.0), off(ends.1))),
        _ => wrong.push(format!("exit {code}")),
    }
    if code == 3 && !steps(json).any(|step| step["status"] == "failed" && step["must"] == "optional") {
        wrong.push("degraded, and nothing optional has failed".to_owned());
    }
    wrong
}

/// Whether the report itself says that this is not as planned, and the exit code allows for it.
fn admitted(json: &Value, line: &str) -> bool {
    let said = |wanted: &dyn Fn(&Value) -> bool| steps(json).any(wanted);
    // What is best effort is skipped with a reason. What earlier runs did to it then stays to be undone.
    let skipped = |step: &Value| step["status"] == "skipped" && step["must"] == "best-effort";
    let skipped_key = |step: &Value| {
        skipped(step) && step["id"].as_str().is_some_and(|id| line.contains(id.trim_start_matches("sysctl ")))
    };
    // An old generation that does not go away is a failure, if one that only degrades.
    let stays = |step: &Value| step["status"] == "failed" && step["id"] == "pins of the last generation";
    line.contains("/run/bpfboot/undo") && (admits_no_undo(json) || said(&skipped))
        || said(&skipped_key)
        || line.starts_with("+ /sys/fs/bpf/bpfboot/stage") && said(&stays)
}

/// Exit 4 lists what is left; what is neither as before nor as after and is not in the list was kept quiet.
fn unnamed(json: &Value, from_before: Vec<String>, from_after: Vec<String>) -> Vec<String> {
    let leftovers: Vec<&str> = json["leftovers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut wrong = Vec::new();
    if leftovers.is_empty() {
        wrong.push("dirty, and no leftover is listed".to_owned());
    }
    // `undo` goes forward to what `apply` goes back to.
    let goal = if json["verb"] == "undo" { from_after } else { from_before };
    if goal.is_empty() {
        wrong.push(format!("dirty, and all is as it should be: {leftovers:?}"));
    }
    for line in goal.iter().filter(|line| !line.contains("/run/bpfboot/")) {
        let named = leftovers.iter().any(|left| match line {
            line if line.contains("/sys/fs/bpf/") || line.contains("xdp on lo") => left.starts_with("pins"),
            line if line.contains("tracefs") => left.starts_with("mount"),
            line => left.split_whitespace().any(|word| word.len() > 4 && line.contains(word.trim_end_matches(':'))),
        });
        if !named {
            wrong.push(format!("dirty, and not named: {line}"));
        }
    }
    wrong
}

/// A killed run may leave anything that the next one repairs, but a reader sees one generation whole.
pub fn torn(is: &State, known: &Known) -> Vec<String> {
    let live = |lines: &[String]| lines.iter().filter(|line| line.starts_with(LIVE)).cloned().collect::<Vec<_>>();
    let lines = is.lines();
    let (now, before, after) = (live(&lines), live(&known.before), live(&known.after));
    let whole = now == before || now == after;
    // `undo` takes one pin after the other.
    let going = known.after == known.bare && now.iter().all(|line| before.contains(line));
    // What is updated in place before the flip shows the new program under the old name: never neither.
    let swapped = now.len() == before.len()
        && difference(&now, &before).iter().all(|line| line.contains(": link of type") || line.contains(": map ["));
    let mut wrong = Vec::new();
    if !whole && !swapped && !going {
        wrong.extend(
            difference(&now, &before).into_iter().map(|line| format!("killed, and live is half of each: {line}")),
        );
    }
    for (key, value) in &is.sysctls {
        let line = format!("{key} = {value}");
        if !known.before.contains(&line) && !known.after.contains(&line) {
            wrong.push(format!("killed, and {line}"));
        }
    }
    wrong
}

/// The report says that undo will not know of what was done.
pub fn admits_no_undo(json: &Value) -> bool {
    let notes = json["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    notes.into_iter().any(|note| note.contains("undo"))
}

fn steps(json: &Value) -> impl Iterator<Item = &Value> {
    json["steps"].as_array().into_iter().flatten()
}

/// The words of a report that the kernel contradicts.
pub fn lies(json: &Value, before: &State, is: &State, code: i32) -> Vec<String> {
    if json.is_null() {
        return Vec::new();
    }
    let mut lies = Vec::new();
    if json["exit"].as_i64() != Some(code.into()) {
        lies.push(format!("the report says exit {}, the process {code}", json["exit"]));
    }
    let all: Vec<&Value> = steps(json).collect();
    for (nth, step) in all.iter().enumerate() {
        let id = step["id"].as_str().unwrap_or_default();
        // The last word on a thing counts, and one on all pins is one on each of them.
        let later = |other: &&Value| {
            other["id"] == step["id"]
                || (matches!(step["phase"].as_str(), Some("load" | "commit"))
                    && other["status"] == "undone"
                    && other["id"].as_str().is_some_and(|id| id.starts_with("pins")))
        };
        if all[nth + 1..].iter().any(later) {
            continue;
        }
        if let Some(lie) = lie(step, id, before, is) {
            lies.push(format!("{id} {} {}: {lie}", step["status"], step["now"]));
        }
    }
    lies
}

fn lie(step: &Value, id: &str, before: &State, is: &State) -> Option<String> {
    let status = step["status"].as_str().unwrap_or_default();
    let stands = matches!(status, "done" | "already");
    let now = step["now"].as_str().unwrap_or_default();
    let (kind, rest) = id.split_once(' ').unwrap_or((id, ""));
    match kind {
        "sysctl" if stands || status == "undone" => {
            let key = is.sysctls.get(rest)?;
            let said = now.split_whitespace().collect::<Vec<_>>().join(" ");
            (said != *key).then(|| format!("the kernel has {key}"))
        }
        "mount" if stands || status == "undone" => {
            let at = rest.split(' ').nth(1)?;
            let there = is.mounts.iter().any(|line| line.contains(at));
            (at.contains("tracing") && there == (status == "undone")).then(|| format!("mounted: {there}"))
        }
        "program" | "map" | "link" if stands => {
            if step["facts"]["pinned"] == "false" {
                return None;
            }
            let (object, name) = rest.split_once('/')?;
            let shelf = if kind == "program" {
                "progs"
            } else if kind == "map" {
                "maps"
            } else {
                "links"
            };
            let path = format!("{LIVE}/{object}/{shelf}/{}", name.replace('.', "_2e"));
            if now.starts_with("detached") {
                return is.pins.contains_key(path.as_ref() as &std::path::Path).then(|| "it is still there".to_owned());
            }
            let Some(Some(pin)) = is.pins.get(path.as_ref() as &std::path::Path) else {
                return Some(format!("there is no {path}"));
            };
            if let Some(said) = step["facts"]["id"].as_str()
                && said != pin.id().to_string()
            {
                return Some(format!("{path} has id {}", pin.id()));
            }
            match pin {
                Pin::Program { tag, .. } if step["facts"]["tag"].as_str().is_some_and(|said| said != tag) => {
                    Some(format!("{path} has tag {tag}"))
                }
                Pin::Link { ifindex: 0, .. } if now.starts_with("xdp ") => Some("its interface is gone".to_owned()),
                Pin::Link { program, .. } if now.starts_with("xdp ") && is.xdp != Some(*program) => {
                    Some(format!("on the interface is {:?}", is.xdp))
                }
                _ => None,
            }
        }
        "pins" if status == "undone" => {
            let live =
                |state: &State| state.lines().into_iter().filter(|line| line.starts_with(LIVE)).collect::<Vec<_>>();
            let gone = live(is).is_empty();
            let back = live(is) == live(before);
            (!gone && !back).then(|| "live is neither gone nor as it was".to_owned())
        }
        "pins" if stands && now == "live" => {
            (!is.pins.contains_key(LIVE.as_ref() as &std::path::Path)).then(|| "it is not there".to_owned())
        }
        _ => None,
    }
}
