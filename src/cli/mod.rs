//! The command line: words in, a [`Command`] and [`Options`] out. Decides nothing and looks at nothing else.
//!
//! The only room that uses lexopt. Options may stand before or after the verb; which verb they belong to is checked
//! when all of them are read.

mod command;
mod help;
mod value;
mod verb;

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use lexopt::{Arg, Parser};

use crate::{
    config::{IfName, ObjectSource, PinName, XdpMode, words},
    event::Kind,
    facts::KernelVersion,
    report::{Color, Shape, clean},
};

use value::{COLORS, Cpus, FORMATS, KINDS, MODES, Release, Wait, choice, one_of, typed};
use verb::{GLOBAL_OPTIONS, OWN_OPTIONS, Verb};

pub use command::{Command, Show};
pub use help::{VERSION, nearest};
pub use value::Format;

/// What holds for every verb.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// `--config`, in the order given; `-` is stdin. Empty: the usual places.
    pub config: Vec<PathBuf>,
    /// `--boot`: do what the kernel's command line and systemd's credentials ask for.
    pub boot: bool,
    /// `--allow-untrusted`: take files that others can write, too.
    pub allow_untrusted: bool,
    /// `--json` or `--quiet`.
    pub shape: Shape,
    /// `--color`.
    pub color: Color,
}

/// Bad usage. Its `Display` is all that stderr should get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    text: String,
    /// Whether it was `run` that was meant, whose codes are its own.
    pub of_run: bool,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Usage {
    fn new(what: &str) -> Self {
        Self::text(format!("bpfboot: {}\ntry 'bpfboot --help'\n", clean(what)))
    }

    const fn text(text: String) -> Self {
        Self { text, of_run: false }
    }
}

impl From<lexopt::Error> for Usage {
    fn from(error: lexopt::Error) -> Self {
        Self::new(&error.to_string())
    }
}

/// The words as they came, not yet held against the verb.
#[derive(Default)]
struct Words {
    verb: Option<Verb>,
    operand: Option<OsString>,
    /// What follows the command of `run`.
    arguments: Vec<OsString>,
    seen: Vec<&'static str>,
    mode: Option<XdpMode>,
    object: Option<PinName>,
    program: Option<PinName>,
    wait: Option<Duration>,
    cpus: Option<u32>,
    kernel: Option<KernelVersion>,
    kinds: Vec<Kind>,
    show: Show,
    svg: Option<PathBuf>,
    kernel_config: Option<PathBuf>,
    btf: Option<PathBuf>,
    release: Option<String>,
    help: bool,
    version: bool,
}

/// Reads the arguments, the program's name not among them.
///
/// # Errors
/// What is wrong with them, for stderr.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, Options), Usage> {
    let (mut words, mut options) = (Words::default(), Options::default());
    let read = read(Parser::from_args(args), &mut words, &mut options);
    let of_run = words.verb == Some(Verb::Run);
    match read.and_then(|()| words.command()) {
        Ok(command) => Ok((command, options)),
        Err(usage) => Err(Usage { of_run, ..usage }),
    }
}

fn read(mut parser: Parser, words: &mut Words, options: &mut Options) -> Result<(), Usage> {
    while let Some(arg) = parser.next()? {
        let name = match arg {
            Arg::Value(word) => {
                words.take(word)?;
                if words.verb == Some(Verb::Run) && words.operand.is_some() {
                    words.arguments.extend(parser.raw_args()?);
                }
                continue;
            }
            Arg::Short('c') => "config",
            Arg::Short('h') => "help",
            Arg::Short('q') => "quiet",
            Arg::Short('V') => "version",
            Arg::Short(other) => return Err(Usage::new(&format!("there is no option '-{other}'"))),
            Arg::Long(name) => known_option(name)?,
        };
        match name {
            "config" => options.config.push(parser.value()?.into()),
            "boot" => options.boot = true,
            "allow-untrusted" => options.allow_untrusted = true,
            "json" => options.shape = Shape::Json,
            "quiet" if options.shape == Shape::Lines => options.shape = Shape::Quiet,
            "color" => options.color = choice(&mut parser, "--color", &COLORS)?,
            "help" => words.help = true,
            "version" => words.version = true,
            "kind" => words.kinds.push(choice(&mut parser, "--kind", &KINDS)?),
            "mode" => words.mode = Some(choice(&mut parser, "--mode", &MODES)?),
            "object" => words.object = Some(typed(parser.value()?, "--object")?),
            "program" => words.program = Some(typed(parser.value()?, "--program")?),
            "cpus" => words.cpus = Some(typed::<Cpus>(parser.value()?, "--cpus")?.0),
            "kernel" => words.kernel = Some(typed::<Release>(parser.value()?, "--kernel")?.0),
            "count" => words.show.count = true,
            "sample" => words.show.sample = Some(typed::<Wait>(parser.value()?, "--sample")?.0),
            "watch" => words.show.watch = Some(typed::<Wait>(parser.value()?, "--watch")?.0),
            "prometheus" => words.show.prometheus = Some(parser.value()?.into()),
            "svg" => words.svg = Some(parser.value()?.into()),
            "kernel-config" => words.kernel_config = Some(parser.value()?.into()),
            "btf" => words.btf = Some(parser.value()?.into()),
            "release" => words.release = Some(typed(parser.value()?, "--release")?),
            "wait" => words.wait = Some(typed::<Wait>(parser.value()?, "--wait")?.0),
            _ => {}
        }
        words.seen.push(name);
    }
    Ok(())
}

impl Words {
    /// The first bare word is the verb, the next one its operand.
    fn take(&mut self, word: OsString) -> Result<(), Usage> {
        let shown = word.display().to_string();
        match (self.verb, &self.operand) {
            (None, _) => self.verb = Some(Verb::parse(&shown)?),
            (Some(verb), None) if verb.takes_operand() => self.operand = Some(word),
            (Some(Verb::Render), Some(_)) => self.arguments.push(word),
            (Some(verb), _) => return Err(Usage::new(&format!("'{shown}' is one word too many for {}", verb.word()))),
        }
        Ok(())
    }

    fn command(self) -> Result<Command, Usage> {
        if self.version && !self.help {
            return Ok(Command::Version);
        }
        let verb = match self.verb {
            None if self.help => return Ok(Command::Help(help::general())),
            None => return Err(Usage::text(format!("bpfboot: a verb is missing\n\n{}", help::general()))),
            Some(Verb::Help) => return self.help_on_operand(),
            Some(verb) if self.help => return Ok(Command::Help(help::on(verb))),
            Some(verb) => verb,
        };
        let fits = |name: &str| words(GLOBAL_OPTIONS).chain(words(verb.own_options())).any(|known| known == name);
        let strange = self.seen.iter().find(|name| !fits(name));
        if let Some(name) = strange {
            return Err(Usage::new(&format!("the option '--{name}' is not one of {}", verb.word())));
        }
        Ok(match verb {
            Verb::Apply => Command::Apply { dry_run: self.seen.contains(&"dry-run") },
            Verb::Check => Command::Check { probe: self.seen.contains(&"probe") },
            Verb::Status => Command::Status(self.show),
            Verb::Diagnose => Command::Diagnose,
            Verb::Explain => Command::Explain { topic: self.operand.map(|topic| topic.display().to_string()) },
            Verb::Report => Command::Report { svg: self.svg, file: self.operand.map(PathBuf::from) },
            Verb::Undo => Command::Undo,
            Verb::Attach => Command::Attach {
                interface: interface(self.operand, verb)?,
                mode: self.mode,
                object: self.object,
                program: self.program,
                wait: self.wait,
                configured: self.seen.contains(&"configured"),
            },
            Verb::Detach => Command::Detach {
                interface: interface(self.operand, verb)?,
                object: self.object,
                program: self.program,
            },
            Verb::Events => Command::Events { kinds: self.kinds },
            Verb::Run => {
                let missing = || Usage::new("run needs a command, as in: bpfboot run -- agent");
                let mut command = vec![self.operand.ok_or_else(missing)?];
                command.extend(self.arguments);
                Command::Run { command }
            }
            Verb::Caps => Command::Caps,
            Verb::Render => {
                let format = self.operand.unwrap_or_default().display().to_string();
                Command::Render { format: one_of(&format, "render", &FORMATS)?, command: self.arguments }
            }
            Verb::Estimate => Command::Estimate { what: self.operand, cpus: self.cpus, kernel: self.kernel },
            Verb::Inspect => {
                let missing = || Usage::new("inspect needs an object, as in: bpfboot inspect builtin:edge");
                let source = source(self.operand.ok_or_else(missing)?);
                Command::Inspect { source, load: self.seen.contains(&"load") }
            }
            Verb::Preflight => {
                let missing = "preflight needs --kernel-config FILE, such as /boot/config-RELEASE";
                Command::Preflight {
                    kernel_config: self.kernel_config.ok_or_else(|| Usage::new(missing))?,
                    btf: self.btf,
                    release: self.release,
                }
            }
            Verb::Profiles => {
                Command::Profiles { name: self.operand.map(|name| typed(name, "the profile")).transpose()? }
            }
            Verb::Help => Command::Help(help::general()),
        })
    }

    fn help_on_operand(self) -> Result<Command, Usage> {
        Ok(Command::Help(match self.operand {
            Some(word) => help::on(Verb::parse(&word.display().to_string())?),
            None => help::general(),
        }))
    }
}

/// The option of that name, in words that outlive the parser's.
fn known_option(name: &str) -> Result<&'static str, Usage> {
    if let Some(known) = words(GLOBAL_OPTIONS).chain(words(OWN_OPTIONS)).find(|known| *known == name) {
        return Ok(known);
    }
    let meant = nearest(name, &format!("{GLOBAL_OPTIONS}, {OWN_OPTIONS}")).map(str::to_owned);
    Err(Usage::new(&format!("there is no option '--{name}'{}", did_you_mean("--", meant.as_deref()))))
}

fn did_you_mean(dashes: &str, meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!("; did you mean '{dashes}{meant}'?"))
}

fn interface(operand: Option<OsString>, verb: Verb) -> Result<IfName, Usage> {
    let verb = verb.word();
    let name = operand.ok_or_else(|| Usage::new(&format!("{verb} needs an interface, as in: bpfboot {verb} eth0")))?;
    typed(name, verb)
}

/// A file, or `builtin:NAME`.
fn source(operand: OsString) -> ObjectSource {
    match operand.to_str().and_then(|text| text.strip_prefix("builtin:")) {
        Some(name) => ObjectSource::Builtin(name.to_owned()),
        None => ObjectSource::File(operand.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
