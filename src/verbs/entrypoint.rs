//! `run`: apply, let go of all that the command is not given, and become the command. No process of ours is left.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fs,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
};

use super::{
    apply::{GaveUp, Go, bring_up},
    run::{RUN, Run},
};
use crate::{
    account::Account,
    bpf,
    cli::Options,
    config::Config,
    error::{Cause, Fault},
    health::{Exit, Health},
    privilege::Becoming,
    report::{self, Line, Status, clean, complain},
    step::{Must, Phase},
    sys::{exec, process},
};

/// What a search finds where PATH is not set (_PATH_DEFPATH of paths.h).
const USUAL_PATH: &str = "/usr/bin:/bin";
/// Words of the environment that are ours to set, or that were not meant for the command.
const OURS: [&str; 6] =
    ["BPFBOOT_REPORT", "BPFBOOT_PIN_ROOT", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// Applies, unless `off` says not to, and becomes the command. Comes back only with the reason why not.
pub fn enter(config: &Config, options: &Options, command: &[OsString], off: bool) -> Exit {
    let mut run = Run::new(RUN, options, &config.sources);
    let mask = process::catch_unignored_stop_signals();
    run.keep_bounded = config.run.keep;
    let (path, mut becoming) = match prepare(config, command) {
        Ok(prepared) => prepared,
        Err((id, fault, exit)) => {
            run.fail(id, Phase::Settle, Must::Required, fault);
            run.notes.push("nothing was changed: this was known before the first write".into());
            run.end_with(Health::Failed, false, Some(exit));
            return exit;
        }
    };
    let mut passed = Vec::new();
    let up = if off {
        run.notes.push("bpfboot=off on the kernel's command line: nothing was done".into());
        Ok(())
    } else {
        bring_up(&mut run, config, options, &mut |run| open_passed(run, config, &mut passed))
    };
    let shown = path.display();
    if let Err((health, keep)) = up {
        passed.clear();
        if !config.run.go_on || process::stop_requested() {
            run.notes.push(format!("{shown} is not started: [run] on-failure = \"refuse\", or a signal"));
            run.end_with(health, keep, Some(Exit::REFUSED));
            return Exit::REFUSED;
        }
        run.notes.push(format!("on-failure = \"continue\": {shown} is started all the same"));
    }
    let status = if run.changed() { Status::Done } else { Status::Already };
    let line = Line::new("privileges", Phase::Drop, Must::Required, status);
    let line = Line { now: Some(becoming.told.clone()), ..line };
    let (health, keep) = up.err().unwrap_or_else(|| (run.health(), true));
    let Ok(told) = run.end_by(health, keep, line, || becoming.complete()) else {
        return Exit::REFUSED;
    };
    let names: Vec<String> = passed.iter().map(|(name, _)| name.clone()).collect();
    let passed: Vec<OwnedFd> = passed.into_iter().map(|(_, fd)| fd).collect();
    if let Err(error) = exec::pass_on(&passed) {
        complain(&format!("bpfboot: pass descriptors on: {error}\n"));
        return Exit::REFUSED;
    }
    process::let_signals_go(mask);
    if process::stop_requested() {
        complain(&format!("bpfboot: stopped by a signal; {} is not started\n", clean(&shown.to_string())));
        return Exit::REFUSED;
    }
    let arguments: Vec<CString> = command.iter().filter_map(|word| c_text(word.as_bytes())).collect();
    let error = match c_text(path.as_os_str().as_bytes()) {
        Some(file) => exec::execute(&file, &arguments, &environment(config, told, &names)),
        None => std::io::Error::from_raw_os_error(libc::EINVAL),
    };
    let fault = Fault::io(Cause::Command, format!("execute {shown} as user {}", becoming.account.uid), &error);
    complain(&format!("bpfboot: {}\n", clean(&fault.to_string())));
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Exit::NOT_FOUND,
        _ => Exit::NOT_EXECUTABLE,
    }
}

/// All that can be known before the first write.
fn prepare(config: &Config, command: &[OsString]) -> Result<(PathBuf, Becoming), (String, Fault, Exit)> {
    let name = command.first().map(OsString::as_os_str).unwrap_or_default();
    let path = find(name).map_err(|(what, exit)| {
        let id = format!("command {}", name.display());
        (id, Fault::new(Cause::Command, what).mend("name its path, or set PATH"), exit)
    })?;
    exec::pass_nothing_on().map_err(|error| {
        let fault = Fault::io(Cause::Command, "have what was inherited close", &error);
        ("descriptors".to_owned(), fault.mend("mount /proc"), Exit::REFUSED)
    })?;
    let account = Account::find(&config.run).map_err(|fault| ("user".to_owned(), fault, Exit::REFUSED))?;
    let refused = |fault| ("privileges".to_owned(), fault, Exit::REFUSED);
    let becoming = Becoming::new(account, config.run.keep).map_err(refused)?;
    for wish in &config.run.pass {
        if config.objects.get(&wish.object).is_none() {
            let fault = Fault::new(Cause::Command, format!("there is no object {}", wish.object));
            return Err((format!("fd {wish}"), fault.mend("[run] pass-fds = []"), Exit::REFUSED));
        }
    }
    Ok((path, becoming))
}

/// The file that execvp(3) would execute.
fn find(name: &OsStr) -> Result<PathBuf, (&'static str, Exit)> {
    let path = env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let places: Vec<PathBuf> = match name.as_bytes().contains(&b'/') {
        true => vec![name.into()],
        false => env::split_paths(&path).map(|dir| dir.join(name)).collect(),
    };
    let mut closed = false;
    for place in places {
        match fs::metadata(&place) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(place),
            Ok(_) => closed = true,
            Err(error) => closed |= error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    match closed {
        true => Err(("is no file that can be executed", Exit::NOT_EXECUTABLE)),
        false => Err(("not found", Exit::NOT_FOUND)),
    }
}

/// Opens what is to be passed on, as long as we may.
fn open_passed(run: &mut Run, config: &Config, passed: &mut Vec<(String, OwnedFd)>) -> Go {
    for wish in &config.run.pass {
        let optional = config.objects.get(&wish.object).is_some_and(|object| object.optional);
        let must = if optional { Must::Optional } else { Must::Required };
        let (name, number) = (wish.to_string(), exec::FIRST as usize + passed.len());
        match bpf::open_live(&config.bpf.root, &wish.object, wish.shelf, &wish.name) {
            Ok(fd) => {
                let line = Line::new(format!("fd {name}"), Phase::Drop, must, Status::Already);
                run.say(Line { now: Some(format!("open as {number}")), ..line });
                passed.push((name, fd));
            }
            Err(fault) => {
                run.fail(format!("fd {name}"), Phase::Drop, must, fault);
                if !optional {
                    return Err(GaveUp);
                }
            }
        }
    }
    Ok(())
}

/// The environment as it came, and what the command should know of us.
fn environment(config: &Config, told: bool, names: &[String]) -> Vec<CString> {
    let mut list = exec::environment();
    list.retain(|word| {
        let rest = |ours: &&str| word.as_bytes().strip_prefix(ours.as_bytes());
        !OURS.iter().filter_map(rest).any(|rest| rest.starts_with(b"="))
    });
    let mut set = |name: &str, value: &str| list.extend(c_text(format!("{name}={value}").as_bytes()));
    if told {
        set("BPFBOOT_REPORT", report::PATH);
    }
    set("BPFBOOT_PIN_ROOT", &Path::new(&config.bpf.root).to_string_lossy());
    if !names.is_empty() {
        set("LISTEN_FDS", &names.len().to_string());
        set("LISTEN_PID", &std::process::id().to_string());
        set("LISTEN_FDNAMES", &names.join(":"));
    }
    list
}

fn c_text(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}
