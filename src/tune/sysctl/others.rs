//! Who else sets keys at boot: the files of sysctl.d(5), /etc/sysctl.conf, and the active profile of tuned. Read in the
//! order in which they are applied, so that the last one counts. What cannot be read sets nothing.

use std::path::{Path, PathBuf};

use super::glob;
use crate::{config::SysctlKey, sys::file};

/// Where sysctl.d files lie; a file hides those of its name further down.
const DIRS: [&str; 4] = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
/// Where tuned's profiles lie.
const PROFILES: [&str; 4] = ["/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned"];
/// Most profiles that include one another.
const INCLUDES_MAX: usize = 8;

/// One assignment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Other {
    key: SysctlKey,
    /// The value, as written.
    pub value: String,
    /// The file.
    pub file: PathBuf,
}

/// All assignments, the last one last.
#[derive(Debug, Default)]
pub struct Others(Vec<Other>);

impl Others {
    /// Reads them.
    pub fn read() -> Self {
        let mut files: Vec<(String, &str)> = Vec::new();
        for dir in DIRS {
            for (name, is_dir) in file::list(Path::new(dir)).unwrap_or_default() {
                if !is_dir && name.ends_with(".conf") && !files.iter().any(|(known, _)| *known == name) {
                    files.push((name, dir));
                }
            }
        }
        files.sort();
        let mut others = Self::default();
        for (name, dir) in files {
            others.take(&Path::new(dir).join(name));
        }
        others.take(Path::new("/etc/sysctl.conf"));
        for profile in file::text("/etc/tuned/active_profile").unwrap_or_default().split_whitespace() {
            others.take_profile(profile, INCLUDES_MAX);
        }
        others
    }

    /// Who sets a key last; one that names it comes after those with a pattern.
    pub fn who(&self, key: &SysctlKey) -> Option<&Other> {
        let mut last = self.0.iter().rev();
        let named = last.clone().find(|other| other.key == *key);
        named.or_else(|| last.find(|other| fits(&other.key, key)))
    }

    fn take(&mut self, path: &Path) {
        let text = file::text(path).unwrap_or_default();
        text.lines().for_each(|line| self.line(line, path));
    }

    fn line(&mut self, line: &str, path: &Path) {
        let line = line.trim();
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) else { return };
        if let Ok(key) = key.trim().trim_start_matches('-').parse() {
            self.0.push(Other { key, value: value.trim().to_owned(), file: path.to_owned() });
        }
    }

    /// A profile's own settings come after those of the profiles it includes.
    fn take_profile(&mut self, name: &str, depth: usize) {
        let places = PROFILES.map(|dir| Path::new(dir).join(name).join("tuned.conf"));
        let Some((path, text)) = places.iter().find_map(|path| Some((path, file::text(path).ok()?))) else { return };
        let in_section = |wanted| section(&text, wanted);
        for line in in_section("main").filter(|_| depth > 0) {
            if let Some(("include", names)) = line.split_once('=').map(|(key, names)| (key.trim(), names)) {
                let names = names.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
                names.for_each(|name| self.take_profile(name, depth - 1));
            }
        }
        // What tuned computes is not known here.
        in_section("sysctl").filter(|line| !line.contains("${")).for_each(|line| self.line(line, path));
    }
}

/// The lines of one section of a file of tuned.
fn section<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let name = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        inside = name.map_or(inside, |name| name == wanted);
        inside && name.is_none()
    })
}

/// Whether a pattern names a key, part by part.
fn fits(pattern: &SysctlKey, key: &SysctlKey) -> bool {
    let (mut parts, mut names) = (pattern.path().split('/'), key.path().split('/'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if glob::matches(part, name) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_last_counts_and_a_name_comes_before_a_pattern() {
        let mut others = Others::default();
        let lines = ["# a = 1", "; b", "net.core.somaxconn = 1", "-net/core/somaxconn=2", "net.core.* = 3", "nonsense"];
        lines.iter().for_each(|line| others.line(line, Path::new("/x.conf")));
        let who = |key: &str| others.who(&key.parse().unwrap()).map(|other| other.value.as_str());
        assert_eq!((who("net.core.somaxconn"), who("net.core.rmem_max")), (Some("2"), Some("3")));
        assert_eq!((who("net.core"), who("net.ipv4.ip_forward")), (None, None));
        let profile = "[main]\ninclude=base\n[sysctl]\nvm.swappiness = 10\n[vm]\nx=y\n";
        assert_eq!(section(profile, "sysctl").collect::<Vec<_>>(), ["vm.swappiness = 10"]);
    }
}
