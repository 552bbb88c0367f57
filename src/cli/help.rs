//! What `--help` says, and how near two words are.

use std::fmt::Write;

use super::verb::Verb;
use crate::{
    config::{distance, words},
    health::Health,
};

/// What `--version` says.
pub const VERSION: &str = concat!("bpfboot ", env!("CARGO_PKG_VERSION"), "\n");

const GENERAL: &str = "\
bpfboot brings eBPF up at boot: it tunes the kernel, loads, pins and proves
programs, and says what came of it. Run it as often as you like: it repairs what
is missing, touches nothing that is right, and undoes what it cannot finish.

usage: bpfboot [OPTIONS] VERB

verbs:
  apply [--dry-run]   bring the kernel to the plan, or say what that would take
  check [--probe]     compare the kernel with the plan; change nothing
  status              what is loaded and attached, alive or dead, and how busy
  diagnose            who refused what in the last run, and what mends it
  explain [TOPIC]     what an errno, a key, a cause or a capability really means
  report [FILE]       print what the last run said again, or draw it
  undo                take back what apply did
  attach IFACE        attach our XDP programs to an interface that has appeared
  detach IFACE        let go of them again
  events [--kind K]   follow what the embedded programs tell
  run -- COMMAND      apply, let go of every privilege, and become COMMAND
  caps                the capabilities that this configuration needs, and why
  render FORMAT       the same as a unit, a container, a pod, or plain settings
  estimate [OBJECT]   the memory that maps take, before they are made
  inspect OBJECT      what an object holds, takes, and how deep its stack gets
  preflight           will this work on another kernel, which does not run here?
  profiles [NAME]     list the built-in sets of settings, or one of them
  help VERB           more about a verb

options:
  -c, --config FILE       read FILE, no other place; repeatable; - is stdin
      --boot              as the kernel's command line and systemd's credentials
                          have it: bpfboot=off, bpfboot.config=FILE
      --allow-untrusted   read files that users other than root can write
      --json              one JSON document on stdout, and no other line
  -q, --quiet             only failures and the summary
      --color WHEN        auto, always, never; auto honours NO_COLOR, TERM=dumb
  -h, --help              this text, or a verb's
  -V, --version           the version

files:
  /etc/bpfboot.d/*.toml      the configuration, see bpfboot.toml(5); also in
                             /run/bpfboot.d and /usr/lib/bpfboot.d
  /run/bpfboot/report.json   the last report, as --json prints it
  /run/bpfboot/verifier      the log of each program that was refused
  /sys/fs/bpf/bpfboot        the pinned programs, maps and links

exit codes:
";

const EXAMPLES: &str = "
examples:
  bpfboot apply --dry-run       what would change on this machine, and why
  bpfboot apply && start-agent  the agent starts only where everything is up
  bpfboot events --kind dns     every name that is asked for, as it is asked
  bpfboot run -- agent --flag   the same, and the agent unprivileged
  bpfboot check --json | jq '.steps[] | select(.status != \"already\")'
";

/// What each exit code means.
pub(super) const CODES: [(Health, &str); 6] = [
    (Health::Healthy, "all as planned"),
    (Health::Failed, "undone, nothing left"),
    (Health::BadInput, "bad usage, configuration or object file; nothing was touched"),
    (Health::Degraded, "only optional items failed; the rest holds"),
    (Health::Dirty, "failed, and the undo was not complete; leftovers are listed"),
    (Health::Drift, "check and status: the kernel is not as planned"),
];

/// The whole help.
pub fn general() -> String {
    let mut text = String::from(GENERAL);
    for (health, meaning) in CODES {
        let _ = writeln!(text, "  {}  {:9}  {meaning}", health.exit_code(), health.word());
    }
    text + EXAMPLES
}

/// The help of one verb.
pub(super) fn on(verb: Verb) -> String {
    let text = match verb {
        Verb::Apply => APPLY,
        Verb::Check => CHECK,
        Verb::Status => STATUS,
        Verb::Diagnose => DIAGNOSE,
        Verb::Explain => EXPLAIN,
        Verb::Report => REPORT,
        Verb::Undo => UNDO,
        Verb::Attach => ATTACH,
        Verb::Detach => DETACH,
        Verb::Events => EVENTS,
        Verb::Run => RUN,
        Verb::Caps => CAPS,
        Verb::Render => RENDER,
        Verb::Estimate => ESTIMATE,
        Verb::Inspect => INSPECT,
        Verb::Preflight => PREFLIGHT,
        Verb::Profiles => PROFILES,
        Verb::Help => return general(),
    };
    format!("{text}\nFor the options of every verb: bpfboot --help\n")
}

const APPLY: &str = "\
usage: bpfboot apply [--dry-run]

Brings the kernel to the plan: mounts, sysctls, knobs and limits first, then
programs, maps and links into a staging directory, which replaces the live one
in a single step. Every write is read back. When a required step fails, all that
this run changed is put back. At the end every capability is dropped.

      --dry-run   print the plan, what each step would change, and why
";

const CHECK: &str = "\
usage: bpfboot check [--probe]

Compares the kernel with the plan, and changes nothing. A sysctl counts by its
value; programs, maps and links by who they are and what is in them. FAIL is
drift, which apply repairs. WARN is worth knowing: another file sets a key to
another value, the kernel lacks an option, something strange is among the pins.

      --probe   also load, run and drop a program that does nothing
";

const STATUS: &str = "\
usage: bpfboot status [--count] [--sample TIME] [--watch TIME]
                      [--prometheus FILE] [--json]

Shows the programs, maps and links that are live, proven by the kernel's
identities: alive, dead, missing or replaced, with what they cost and how full
they are. Changes nothing. The exit code is 5 when something is not alive.

      --count            walk large hash maps, too, to see how full they are
      --sample TIME      have the kernel count and time the runs for so long;
                         without, runs are those of earlier measurements
      --watch TIME       again and again, so far apart, until it is stopped
      --prometheus FILE  write a textfile for node_exporter, in one move

TIME is 500ms, 5s or 2m.
";

const DIAGNOSE: &str = "\
usage: bpfboot diagnose

Tells of each failure of the last run its cause and reason, who refused, what
shows it, and what mends it: a capability, seccomp, a lockdown, a security
module, a one-way key, the verifier. Without a report of a run, it looks at this
machine. Ends with the code of that run. Changes nothing.
";

const EXPLAIN: &str = "\
usage: bpfboot explain [TOPIC]

Prints what is known of an errno (13, EACCES, 524), a key with what it takes and
what it is here, a cause or reason of the report, or a capability; without TOPIC
a list of them. Changes nothing.
";

const REPORT: &str = "\
usage: bpfboot report [--svg OUT] [FILE]

Prints the report of the last run again, or the one in FILE; - is stdin. With
--json as it is. Looks at nothing else.

      --svg OUT   draw it into OUT instead, for a browser: each step on an axis
                  of time, loads that ran at once side by side; - is stdout
";

const UNDO: &str = "\
usage: bpfboot undo

Detaches and unpins our programs, and puts back each value that apply changed,
unless somebody else has changed it since. What cannot be put back before a
reboot is listed.
";

const ATTACH: &str = "\
usage: bpfboot attach IFACE [--configured] [--mode MODE] [--object NAME]
                            [--program NAME] [--wait TIME]

Attaches pinned XDP programs to an interface: those whose configuration names
it, or the ones named here. A program of somebody else on the interface is
reported and never replaced.

      --configured     only where the configuration names IFACE; else do
                       nothing, which is healthy
      --mode MODE      native, generic, any or offload; the mode asked for is
                       the mode that is proven
      --object NAME    only the programs of this object
      --program NAME   only this program
      --wait TIME      how long to wait for the interface: 500ms, 5s, 2m
";

const DETACH: &str = "\
usage: bpfboot detach IFACE [--object NAME] [--program NAME]

Lets go of our XDP programs on an interface; they stay loaded and pinned.
Programs of others are not touched.

      --object NAME    only the programs of this object
      --program NAME   only this program
";

const EVENTS: &str = "\
usage: bpfboot events [--kind KIND]... [--json]

Follows what the embedded objects write into their ring buffers, a line an
event, until it is stopped. The maps are opened by their pins, then every
capability goes. An event that found no room is lost and counted: a line tells
when that happens, and one for each ring buffer at the end. There can be one
reader only, and what it has read is gone.

      --kind KIND   only this kind; repeatable: open, exec, exit, read, http,
                    dns, tls
      --json        a JSON object a line

The time is that of dmesg: seconds since the machine was started.
";

const RUN: &str = "\
usage: bpfboot run [--] COMMAND [ARG...]

The entrypoint of a container: applies, becomes the user of [run], lets go of
every capability but those it keeps, and is replaced by COMMAND. The report goes
to stderr. COMMAND gets the environment, BPFBOOT_REPORT and BPFBOOT_PIN_ROOT,
the standard descriptors, and those of pass-fds as LISTEN_FDS has it.

exit codes: 125 not started, 126 not executable, 127 not found, else COMMAND's
";

const CAPS: &str = "\
usage: bpfboot caps

Prints the capabilities that the configuration needs on this kernel, to load and
afterwards, each with its reason; with --quiet their names alone, for a script.
Changes nothing.
";

const RENDER: &str = "\
usage: bpfboot render FORMAT [-- COMMAND [ARG...]]

Prints the configuration as a file for somebody else, with the capabilities that
'bpfboot caps' computes and their reasons. Changes nothing.

  systemd      a unit that runs COMMAND
  docker       a script of one docker run
  compose      a compose file
  kubernetes   a pod whose init container applies, and a daemon set of it
  oci          the config.json of a bundle
  sysctl.d     the settings, for hosts that want files instead
  limits       the limits, for limits.d
";

const ESTIMATE: &str = "\
usage: bpfboot estimate [OBJECT | builtin:NAME | FILE.toml]
                        [--cpus N] [--kernel X.Y]

Says what the maps of an object or of a configuration take of memory: when they
are made, and when every entry is used. That is what fdinfo shows as memlock, to
the byte where the kernel counts it (6.4 and later). Makes nothing, and needs no
privilege. Fails where that is more than memory-budget.

      --cpus N       for a machine of N possible CPUs, not this one
      --kernel X.Y   for that kernel, not this one
";

const INSPECT: &str = "\
usage: bpfboot inspect OBJECT [--load]

Says what an object is before anybody loads it: its programs with their
instructions, the stack of each chain of calls, which program jumps to which by
tail calls, helpers, maps, globals, and the least kernel and capabilities that
it needs, each with its reason. OBJECT is a file or builtin:NAME. What the
configuration puts into the program arrays of that object counts, too. Ends with
1 when it would be refused, with 2 when it cannot be read.

      --load   load each program for the verifier's own figures; needs the
               capabilities of apply, attaches and pins nothing
";

const PREFLIGHT: &str = "\
usage: bpfboot preflight --kernel-config FILE [--btf FILE] [--release X.Y]

Says whether the configuration and its objects would work on another kernel, for
those who build images: needs no root, and looks at nothing of the kernel that
runs here. Each step, map, program and link would be done, is impossible, with
the mend, or cannot be known.

      --kernel-config FILE   that kernel's configuration, as in /boot/config-*
      --btf FILE             its types: /sys/kernel/btf/vmlinux, copied; what
                             needs them is not known otherwise
      --release X.Y          its version, where FILE does not begin with it

exit codes: 0 it works, 1 it would fail, 2 bad input,
            3 optional items would fail, or something cannot be known
";

const PROFILES: &str = "\
usage: bpfboot profiles [NAME]

Lists the built-in sets of kernel settings, or each key of one of them with its
value and the reason for it.
";

/// The known word nearest to `word`, if it is near enough to be a slip of the hand.
pub fn nearest<'a>(word: &str, known: &'a str) -> Option<&'a str> {
    let far = 1 + word.len() / 4;
    words(known).map(|one| (distance(word, one), one)).filter(|(edits, _)| *edits <= far).min().map(|(_, one)| one)
}
