//! The verbs, and which options each of them knows.

use super::{Usage, did_you_mean, help::nearest};

/// The first bare word of a command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Apply,
    Check,
    Status,
    Report,
    Diagnose,
    Explain,
    Undo,
    Attach,
    Detach,
    Events,
    Run,
    Caps,
    Render,
    Estimate,
    Inspect,
    Preflight,
    Profiles,
    Help,
}

impl Verb {
    pub(super) const ALL: [Self; 18] = [
        Self::Apply,
        Self::Check,
        Self::Status,
        Self::Report,
        Self::Diagnose,
        Self::Explain,
        Self::Undo,
        Self::Attach,
        Self::Detach,
        Self::Events,
        Self::Run,
        Self::Caps,
        Self::Render,
        Self::Estimate,
        Self::Inspect,
        Self::Preflight,
        Self::Profiles,
        Self::Help,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Check => "check",
            Self::Status => "status",
            Self::Diagnose => "diagnose",
            Self::Explain => "explain",
            Self::Report => "report",
            Self::Undo => "undo",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Events => "events",
            Self::Run => "run",
            Self::Caps => "caps",
            Self::Render => "render",
            Self::Estimate => "estimate",
            Self::Inspect => "inspect",
            Self::Preflight => "preflight",
            Self::Profiles => "profiles",
            Self::Help => "help",
        }
    }

    /// The options that only some verbs know.
    pub(super) const fn own_options(self) -> &'static str {
        match self {
            Self::Apply => "dry-run",
            Self::Check => "probe",
            Self::Status => "count, prometheus, sample, watch",
            Self::Attach => "configured, mode, object, program, wait",
            Self::Detach => "object, program",
            Self::Events => "kind",
            Self::Estimate => "cpus, kernel",
            Self::Inspect => "load",
            Self::Diagnose | Self::Explain => "",
            Self::Report => "svg",
            Self::Preflight => "kernel-config, btf, release",
            Self::Undo | Self::Run | Self::Caps | Self::Render | Self::Profiles | Self::Help => "",
        }
    }

    /// Whether a word may follow it.
    pub(super) const fn takes_operand(self) -> bool {
        !matches!(self, Self::Apply | Self::Check | Self::Status | Self::Undo | Self::Events | Self::Caps)
            && !matches!(self, Self::Diagnose)
    }

    pub(super) fn parse(word: &str) -> Result<Self, Usage> {
        if let Some(verb) = Self::ALL.into_iter().find(|verb| verb.word() == word) {
            return Ok(verb);
        }
        // What other tools call it.
        let meant = match word {
            "verify" | "diff" => Some("check"),
            "load" | "start" | "up" => Some("apply"),
            "why" | "doctor" | "troubleshoot" => Some("diagnose"),
            "exec" => Some("run"),
            "unload" | "stop" | "down" | "rollback" | "reset" => Some("undo"),
            _ => nearest(word, VERBS),
        };
        Err(Usage::new(&format!("there is no verb '{word}'{}", did_you_mean("", meant))))
    }
}

/// All of them, as messages list them.
pub(super) const VERBS: &str = "apply, check, status, report, diagnose, explain, undo, attach, detach, events, run, caps, render, estimate, inspect, preflight, profiles, help";
/// What every verb knows.
pub(super) const GLOBAL_OPTIONS: &str = "config, boot, allow-untrusted, json, quiet, color, help, version";
/// What only some know.
pub(super) const OWN_OPTIONS: &str = "btf, dry-run, configured, count, cpus, kernel, kernel-config, kind, load, mode, object, probe, program, prometheus, release, sample, svg, wait, watch";
