//! What an object needs of a kernel, and of whoever loads it, each with its reason.

use aya_obj::generated::{BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS, bpf_attach_type as A, bpf_prog_type as P};

use super::super::{
    job::Job,
    kind::Kind,
    since::{self, List},
    walk::Walk,
};
use crate::facts::KernelVersion;

/// Something that not every kernel has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Since {
    /// The first kernel that has it.
    pub kernel: KernelVersion,
    /// What it is.
    pub what: String,
    /// What of the object uses it.
    pub used_by: Vec<String>,
}

/// What has been found so far.
#[derive(Default)]
pub struct Needs {
    /// Each once, the newest first.
    pub since: Vec<Since>,
}

impl Needs {
    fn add(&mut self, what: String, kernel: KernelVersion, user: &str) {
        match self.since.iter_mut().find(|known| known.what == what) {
            Some(known) if known.used_by.iter().any(|known| known == user) => {}
            Some(known) => known.used_by.push(user.to_owned()),
            None => {
                let place = self
                    .since
                    .partition_point(|newer| newer.kernel > kernel || newer.kernel == kernel && newer.what <= what);
                self.since.insert(place, Since { kernel, what, used_by: vec![user.to_owned()] });
            }
        }
    }

    fn add_known(&mut self, list: List, number: u32, word: &str, user: &str) {
        if let Some((name, kernel)) = since::known(list, number) {
            self.add(format!("{word} {name}"), kernel, user);
        }
    }

    /// A map's type.
    pub fn of_map(&mut self, map_type: u32, name: &str) {
        self.add_known(List::Maps, map_type, "map type", name);
    }

    /// A program's type, its attachment where that is chosen when it is loaded, and its flags.
    pub fn of_program(&mut self, (kind, attach, flags): (P, u32, u32), name: &str) {
        self.add_known(List::Programs, kind as u32, "program type", name);
        // What was there before there were names for it is 0, or comes with the program's type.
        if attach != 0 && attach != A::BPF_XDP as u32 {
            self.add_known(List::Attachments, attach, "attachment", name);
        }
        for (flag, what, major, minor) in
            [(BPF_F_SLEEPABLE, "sleepable programs", 5, 10), (BPF_F_XDP_HAS_FRAGS, "XDP of several buffers", 5, 18)]
        {
            if flags & flag != 0 {
                self.add(what.to_owned(), KernelVersion { major, minor }, name);
            }
        }
    }

    /// What its instructions are, and whom they call.
    pub fn of_code(&mut self, walk: &Walk, name: &str) {
        for helper in walk.helpers() {
            self.add_known(List::Helpers, helper, "helper", name);
        }
        for form in &walk.forms {
            let (what, kernel) = since::form(*form);
            self.add(what.to_owned(), kernel, name);
        }
    }

    /// The kernel's BTF, in /sys/kernel/btf since 5.4.
    pub fn of_btf(&mut self, why: &str) {
        self.add("BTF of the kernel".to_owned(), KernelVersion { major: 5, minor: 4 }, why);
    }
}

/// The first of some names, and how many more there are.
pub fn few(names: &[impl AsRef<str>]) -> String {
    const TOLD: usize = 3;
    let told: Vec<&str> = names.iter().take(TOLD).map(AsRef::as_ref).collect();
    let more = if names.len() > TOLD { format!(" and {} more", names.len() - TOLD) } else { String::new() };
    told.join(", ") + &more
}

/// Whether CAP_PERFMON is asked for to load a program of that kind (is_perfmon_prog_type() in kernel/bpf/syscall.c).
const fn is_tracing(kind: Kind) -> bool {
    !matches!(kind, Kind::Xdp | Kind::Net(_) | Kind::Other(_) | Kind::Unknown)
}

/// Helpers for which programs of any kind need it (bpf_base_func_proto() in kernel/bpf/helpers.c).
const PERFMON: &str = "trace_printk get_current_task get_current_task_btf probe_read_user probe_read_kernel \
    probe_read_user_str probe_read_kernel_str snprintf_btf snprintf task_pt_regs trace_vprintk perf_event_read_value";

/// The capabilities that it takes to load the object since 5.8; before, CAP_SYS_ADMIN stands for all of them.
/// `helpers`: all that it calls.
pub fn capabilities(job: &Job, helpers: &[&str]) -> Vec<(&'static str, String)> {
    let names = |wanted: fn(Kind) -> bool| -> Vec<&str> {
        job.programs.iter().filter(|program| wanted(program.kind)).map(|program| program.name.as_str()).collect()
    };
    let mut taken = vec![("CAP_BPF", "to load programs, maps and BTF".to_owned())];
    let tracing = names(is_tracing);
    let helper = || helpers.iter().find(|helper| PERFMON.split_whitespace().any(|name| name == **helper));
    if !tracing.is_empty() {
        taken.push(("CAP_PERFMON", format!("tracing: {}", few(&tracing))));
    } else if let Some(helper) = helper() {
        taken.push(("CAP_PERFMON", format!("helper {helper}")));
    } else if !job.programs.is_empty() {
        taken.push(("CAP_PERFMON", "without it the verifier also walks what the CPU only speculates".to_owned()));
    }
    let mut net = names(|kind| kind.needs_net_admin());
    if job.net_maps() {
        net.push("maps of sockets or devices");
    }
    if !net.is_empty() {
        taken.push(("CAP_NET_ADMIN", format!("networking: {}", few(&net))));
    }
    let users = names(|kind| matches!(kind, Kind::Uprobe | Kind::Uretprobe));
    if !users.is_empty() {
        taken.push(("CAP_SYS_ADMIN", format!("user probes, for which perf asks for it: {}", few(&users))));
    }
    taken
}
