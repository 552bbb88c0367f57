//! `status`: what the kernel has of the live generation, and how it is doing. Changes nothing.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::machine;
use crate::{
    bpf::{Store, look},
    cli::{Options, Show},
    config::Config,
    error::Fault,
    health::Health,
    report::{self, Shape, complain, try_say},
    seen::{Object, Seen},
    sys::{
        self,
        look::{count_runs, since_boot},
        process::{self, Watch},
    },
};

/// How often it is looked again while a run is at work, and how long between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);
/// The shortest pause of `--watch`.
const SHORTEST: Duration = Duration::from_millis(10);

/// Looks, and tells; with `--watch` until a signal comes or nobody listens.
pub fn status(config: &Config, options: &Options, wish: &Show) -> Health {
    if wish.watch.is_some() || wish.sample.is_some() {
        process::catch_stop_signals();
    }
    loop {
        let (health, listened) = once(config, options, wish);
        let Some(pause) = wish.watch else { return health };
        if !listened || !rest(pause.max(SHORTEST)) {
            return health;
        }
    }
}

/// Waits. `false`: a signal came.
fn rest(pause: Duration) -> bool {
    Watch::new(std::iter::empty()).wait(pause);
    !process::stop_requested()
}

/// One look, and whether there was somebody to tell it.
fn once(config: &Config, options: &Options, wish: &Show) -> (Health, bool) {
    let start = Instant::now();
    let mut seen = match sampled(config, wish) {
        Ok(seen) => seen,
        Err(fault) => {
            complain(&format!("bpfboot: status: {}\n", report::clean(&fault.to_string())));
            if !fault.mend.is_empty() {
                complain(&format!("  mend: {}\n", report::clean(&fault.mend)));
            }
            return (Health::Failed, true);
        }
    };
    let mut health = if seen.whole() { Health::Healthy } else { Health::Drift };
    if let Some(path) = &wish.prometheus
        && let Err(error) = report::replace(&absolute(path), &report::textfile(&seen))
    {
        seen.notes.push(format!("{} was not written: {error}", path.display()));
        complain(&format!("bpfboot: status: {}\n", seen.notes.last().map_or("", String::as_str)));
        health = Health::Failed;
    }
    let took = start.elapsed();
    let text = match options.shape {
        Shape::Json => report::seen_document(&seen, health, took, &process::kernel_release()),
        shape => report::seen(&seen, health, took, shape == Shape::Quiet, options.color.on_stdout()),
    };
    (health, try_say(&text))
}

/// A file is replaced by its directory, which a bare name does not tell.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A look, or two with time between them.
fn sampled(config: &Config, wish: &Show) -> Result<Seen, Fault> {
    let Some(time) = wish.sample else { return whole(config, wish.count) };
    // Held only until the second look is over.
    let counting: std::io::Result<OwnedFd> = count_runs();
    let before = whole(config, false)?;
    if counting.is_ok() {
        rest(time);
    }
    let mut seen = whole(config, wish.count)?;
    match counting {
        Ok(_) => {
            seen.sampled = Some(seen.now.saturating_sub(before.now));
            seen.compare(&before);
        }
        Err(error) => seen.notes.push(format!(
            "runs were not sampled: {}",
            Fault::io(crate::error::Cause::Kernel, "have the kernel count them", &error)
        )),
    }
    Ok(seen)
}

/// A look in which nothing moved: while a run builds the next generation, links already carry its programs, and when it
/// becomes the live one under our eyes, things seem lost.
fn whole(config: &Config, count: bool) -> Result<Seen, Fault> {
    let mut seen = one(config, count)?;
    for _ in 0..LOOKS {
        if seen.whole() {
            return Ok(seen);
        }
        let calm = !at_work(config);
        if !calm {
            rest(PAUSE);
        }
        seen = one(config, count)?;
        if calm && !at_work(config) {
            return Ok(seen);
        }
    }
    seen.notes.push("a run is at work, or was killed; the next apply sweeps what it left".into());
    Ok(seen)
}

fn at_work(config: &Config) -> bool {
    sys::file::exists(Store::new(&config.bpf.root).stage().path()).unwrap_or(true)
}

fn one(config: &Config, count: bool) -> Result<Seen, Fault> {
    let now = since_boot();
    let mut objects = look(&Store::new(&config.bpf.root), count)?;
    for wish in config.objects.values().filter(|wish| !wish.optional) {
        if !objects.iter().any(|object| object.name == wish.name.as_str()) {
            let absent = Some("it is in the configuration, and not loaded".to_owned());
            objects.push(Object { name: wish.name.to_string(), absent, ..Object::default() });
        }
    }
    Ok(Seen {
        objects,
        machine: machine::look(),
        sampled: None,
        now,
        unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        notes: Vec::new(),
    })
}
