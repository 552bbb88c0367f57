//! The verbs: each makes a plan, walks it, and says what became of it.

mod apply;
mod attach;
mod capabilities;
mod check;
mod detach;
mod diagnose;
mod entrypoint;
#[cfg(feature = "workbench")]
mod estimate;
mod events;
#[cfg(feature = "workbench")]
mod explain;
#[cfg(feature = "workbench")]
mod inspect;
mod machine;
mod objects;
#[cfg(feature = "workbench")]
mod preflight;
mod profiles;
#[cfg(feature = "workbench")]
mod render;
#[cfg(feature = "workbench")]
mod report;
mod run;
mod status;
mod undo;
mod validate;

use std::path::PathBuf;

use crate::{
    boot::{self, Asked},
    cli::{Command, Options, VERSION},
    config::{self, Config},
    health::{Exit, Health},
    report::{complain, say},
    sys,
};

/// Carries a command out and gives the health of it.
pub fn carry_out(command: &Command, mut options: Options) -> Exit {
    let asked = if options.boot { boot::asked() } else { Asked::default() };
    if options.config.is_empty() {
        options.config.extend(asked.config);
    }
    let options = &options;
    if let Command::Run { command } = command {
        return match load(&options.config, options.allow_untrusted) {
            Ok(config) => entrypoint::enter(&config, options, command, asked.off),
            Err(mistakes) => {
                complain(&mistakes);
                Exit::REFUSED
            }
        };
    }
    sys::limit::dump_no_core();
    if asked.off
        && let Some((verb, keep)) = stands_back(command)
    {
        let mut run = run::Run::new(verb, options, &[]);
        run.notes.push("bpfboot=off on the kernel's command line: nothing was done".into());
        return run.end(Health::Healthy, keep).into();
    }
    health_of(command, options).into()
}

fn health_of(command: &Command, options: &Options) -> Health {
    match command {
        Command::Help(text) => {
            say(text);
            Health::Healthy
        }
        Command::Version => {
            say(VERSION);
            Health::Healthy
        }
        // Has an end of its own.
        Command::Run { .. } => Health::Healthy,
        Command::Profiles { name } => profiles::profiles(name.as_deref()),
        Command::Diagnose => diagnose::diagnose(options),
        Command::Undo => undo::undo(options),
        Command::Apply { dry_run } => with_config(options, |config| match dry_run {
            true => check::dry_run(config, options),
            false => apply::apply(config, options),
        }),
        Command::Caps => with_config(options, |config| capabilities::print(config, options)),
        Command::Check { probe } => with_config(options, |config| check::check(config, options, *probe)),
        Command::Status(show) => with_config(options, |config| status::status(config, options, show)),
        Command::Events { kinds } => with_config(options, |config| events::events(config, options, kinds)),
        Command::Attach { interface, mode, object, program, wait, configured } => {
            let wish = attach::Wish {
                interface,
                mode: *mode,
                object: object.as_ref(),
                program: program.as_ref(),
                wait: *wait,
                configured: *configured,
            };
            with_config(options, |config| attach::attach(config, options, &wish))
        }
        Command::Detach { interface, object, program } => {
            with_config(options, |config| detach::detach(config, options, interface, object.as_ref(), program.as_ref()))
        }
        _ => at_workbench(command, options),
    }
}

/// The verbs of a desk, where images are built and reports are read. A container's image does without them.
#[cfg(feature = "workbench")]
fn at_workbench(command: &Command, options: &Options) -> Health {
    match command {
        Command::Explain { topic } => explain::explain(topic.as_deref(), options),
        Command::Render { format, command } => {
            with_config(options, |config| render::render(config, options, *format, command))
        }
        Command::Estimate { what, cpus, kernel } => estimate::estimate(what.as_deref(), *cpus, *kernel, options),
        Command::Inspect { source, load } => {
            with_config(options, |config| inspect::inspect(config, options, source, *load))
        }
        Command::Report { svg, file } => report::report(options, svg.as_deref(), file.as_deref()),
        Command::Preflight { kernel_config, btf, release } => with_config(options, |config| {
            preflight::preflight(config, options, kernel_config, btf.as_deref(), release.as_deref())
        }),
        _ => Health::BadInput,
    }
}

/// The verbs that are not in this build.
#[cfg(not(feature = "workbench"))]
fn at_workbench(_: &Command, _: &Options) -> Health {
    complain("bpfboot: this is the small build, of the container image, which lacks this verb; the whole one has it\n");
    Health::BadInput
}

/// The verbs that do nothing when bpfboot is off, and whether their report is kept. What an earlier run did can still be
/// taken back.
const fn stands_back(command: &Command) -> Option<(&'static str, bool)> {
    match command {
        Command::Apply { dry_run } => Some(("apply", !*dry_run)),
        Command::Check { .. } => Some(("check", false)),
        Command::Attach { .. } => Some(("attach", true)),
        _ => None,
    }
}

fn with_config(options: &Options, then: impl FnOnce(&Config) -> Health) -> Health {
    match load(&options.config, options.allow_untrusted) {
        Ok(config) => then(&config),
        Err(mistakes) => {
            complain(&mistakes);
            Health::BadInput
        }
    }
}

fn load(files: &[PathBuf], allow_untrusted: bool) -> Result<Config, String> {
    config::load(&config::Sources { files, allow_untrusted }).map_err(|mistakes| format!("{mistakes}\n"))
}
