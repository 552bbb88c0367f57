//! What to do: a verb with all that belongs to it.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::Format;
use crate::{
    config::{IfName, ObjectSource, PinName, XdpMode},
    event::Kind,
    facts::KernelVersion,
};

/// What `status` is asked for besides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Show {
    /// Walk large tables, too.
    pub count: bool,
    /// Have runs counted and timed for so long.
    pub sample: Option<Duration>,
    /// Again and again, so far apart.
    pub watch: Option<Duration>,
    /// The textfile to replace.
    pub prometheus: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Bring the kernel to the plan.
    Apply {
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Compare the kernel with the plan.
    Check {
        /// Also load, run and drop a program.
        probe: bool,
    },
    /// Show the live generation.
    Status(Show),
    /// Tell of each failure of the last run who refused, and what mends it.
    Diagnose,
    /// Tell what is known of an errno, a cause, a reason, a capability or a key.
    Explain {
        /// Which; `None`: list them.
        topic: Option<String>,
    },
    /// Print what a run said once more.
    Report {
        /// Draw it into this file; `-` is stdout.
        svg: Option<PathBuf>,
        /// The report; `None`: the last one.
        file: Option<PathBuf>,
    },
    /// Take back what apply did.
    Undo,
    /// Attach XDP programs to an interface.
    Attach {
        /// The interface.
        interface: IfName,
        /// The mode; `None`: as the configuration has it.
        mode: Option<XdpMode>,
        /// Only this object's programs.
        object: Option<PinName>,
        /// Only this program.
        program: Option<PinName>,
        /// How long to wait for the interface; `None`: as the configuration has it.
        wait: Option<Duration>,
        /// Only where the configuration names the interface.
        configured: bool,
    },
    /// Let go of our XDP programs on an interface.
    Detach {
        /// The interface.
        interface: IfName,
        /// Only this object's programs.
        object: Option<PinName>,
        /// Only this program.
        program: Option<PinName>,
    },
    /// Follow what the embedded objects tell.
    Events {
        /// Only these kinds; none is all.
        kinds: Vec<Kind>,
    },
    /// Bring the kernel to the plan, and become this command.
    Run {
        /// It, and its arguments.
        command: Vec<OsString>,
    },
    /// Print the capabilities that the configuration takes.
    Caps,
    /// Print the configuration in another form.
    Render {
        /// Which one.
        format: Format,
        /// What `run` is to start there.
        command: Vec<OsString>,
    },
    /// Say what maps take of memory.
    Estimate {
        /// An object, `builtin:NAME`, or a configuration; `None`: the one of every verb.
        what: Option<OsString>,
        /// The possible CPUs; `None`: as here.
        cpus: Option<u32>,
        /// The kernel; `None`: the one that runs.
        kernel: Option<KernelVersion>,
    },
    /// Say what an object is and takes.
    Inspect {
        /// The object.
        source: ObjectSource,
        /// Ask the verifier, too.
        load: bool,
    },
    /// Judge the configuration for another kernel.
    Preflight {
        /// That kernel's configuration.
        kernel_config: PathBuf,
        /// Its BTF.
        btf: Option<PathBuf>,
        /// Its release, where the configuration does not tell.
        release: Option<String>,
    },
    /// List the profiles, or the keys of one.
    Profiles {
        /// The one.
        name: Option<String>,
    },
    /// Print this text.
    Help(String),
    /// Print [`VERSION`].
    Version,
}
