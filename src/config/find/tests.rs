#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::super::{Config, Mistakes, Sources, load_from};

/// A directory that is gone when the test ends, with the three drop-in directories in it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bpfboot-find-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Self(std::env::temp_dir().join(name));
        for sub in ["usr", "run", "etc"] {
            fs::create_dir_all(dir.0.join(sub)).unwrap();
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn load(&self) -> Result<Config, Mistakes> {
        let dirs = ["usr", "run", "etc"].map(|sub| self.path(sub));
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        load_from(&Sources { files: &[], allow_untrusted: false }, &dirs)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn load_file(path: &Path) -> Result<Config, Mistakes> {
    load_from(&Sources { files: &[path.to_owned()], allow_untrusted: false }, &[])
}

/// The only mistake of a file.
fn refusal(path: &Path) -> String {
    let mistakes = load_file(path).unwrap_err();
    assert_eq!(mistakes.total, 1, "{mistakes}");
    mistakes.list[0].to_string()
}

fn values(config: &Config) -> Vec<String> {
    config.sysctls.iter().map(|wish| format!("{}={:?}", wish.key, wish.goal)).collect()
}

#[test]
fn without_files_the_default_applies() {
    let dir = Dir::new();
    let config = dir.load().unwrap();
    assert_eq!(config.sources, ["embedded default"]);
    assert_eq!(config.objects.len(), 2);
    let nowhere = load_from(&Sources { files: &[], allow_untrusted: false }, &[Path::new("/nonexistent/bpfboot.d")]);
    assert_eq!(nowhere.unwrap().sources, ["embedded default"]);
}

#[test]
fn drop_ins_follow_sysctl_d() {
    let dir = Dir::new();
    dir.write("usr/10-a.toml", "sysctl.\"vm.a\" = 1\nsysctl.\"vm.same\" = 7");
    dir.write("usr/30-c.toml", "sysctl.\"vm.a\" = 3");
    dir.write("run/10-a.toml", "broken [[[");
    dir.write("etc/10-a.toml", "sysctl.\"vm.a\" = 2\nsysctl.\"vm.same\" = 7");
    dir.write("run/20-b.toml", "sysctl.\"vm.same\" = 7");
    dir.write("etc/.#10-a.toml", "broken [[[");
    dir.write("etc/60-d.conf", "broken [[[");
    let config = dir.load().unwrap();
    let label = |name: &str| dir.path(name).display().to_string();
    assert_eq!(config.sources, [label("etc/10-a.toml"), label("run/20-b.toml"), label("usr/30-c.toml")]);
    assert_eq!(values(&config), ["vm.same=Set(\"7\")", "vm.a=Set(\"3\")"]);
    assert_eq!(config.sysctls[1].origin, format!("{}:1", label("usr/30-c.toml")));
    let note = |text: &str| config.notes.iter().any(|note| note == text);
    assert!(note(&format!("{} is overridden by {}", label("usr/10-a.toml"), label("etc/10-a.toml"))));
    assert!(note(&format!("{} is overridden by {}", label("run/10-a.toml"), label("etc/10-a.toml"))));
    assert!(note(&format!("sysctl vm.a: {}:1 wins over {}:1", label("usr/30-c.toml"), label("etc/10-a.toml"))));
    assert!(note(&format!("{} is not read: its name does not end in .toml", label("etc/60-d.conf"))));
    assert_eq!(config.notes.len(), 4, "{:?}", config.notes);
}

#[test]
fn masks_mask_and_leave_nothing_to_do() {
    let dir = Dir::new();
    dir.write("usr/10-a.toml", "sysctl.\"vm.a\" = 1");
    dir.write("usr/20-b.toml", "sysctl.\"vm.b\" = 1");
    symlink("/dev/null", dir.path("etc/10-a.toml")).unwrap();
    dir.write("run/20-b.toml", "");
    let config = dir.load().unwrap();
    assert!(config.sources.is_empty() && config.sysctls.is_empty() && config.objects.is_empty());
    assert_eq!(config.notes.len(), 2);
    assert!(config.notes[0].ends_with("etc/10-a.toml") && config.notes[0].contains("usr/10-a.toml is masked by"));
}

#[test]
fn a_link_to_a_good_file_is_a_good_file() {
    let dir = Dir::new();
    let target = dir.write("target", "sysctl.\"vm.a\" = 1");
    symlink(target, dir.path("etc/10-a.toml")).unwrap();
    assert_eq!(dir.load().unwrap().sysctls.len(), 1);
    symlink("b.toml", dir.path("etc/b.toml")).unwrap();
    symlink("/nonexistent", dir.path("etc/c.toml")).unwrap();
    let mistakes = dir.load().unwrap_err().to_string();
    assert!(mistakes.contains("(ELOOP)") && mistakes.contains("(ENOENT)"), "{mistakes}");
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = Dir::new();
    assert!(refusal(&dir.path("etc")).contains("is a directory, not a regular file"));
    assert!(refusal(Path::new("/dev/zero")).contains("is a device"));
    assert!(refusal(Path::new("/dev/null")).contains("is a device"));
    assert!(refusal(&dir.path("missing")).contains("cannot be opened: "));
    let fifo = dir.path("fifo");
    // std cannot make a FIFO, and nix's `mkfifo` is behind a feature that the product does not need.
    assert!(process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(refusal(&fifo).contains("is a FIFO"));
    fs::write(dir.path("etc-file"), "").unwrap();
    let file = dir.path("etc-file");
    let listed = load_from(&Sources { files: &[], allow_untrusted: false }, &[&file]).unwrap_err();
    assert!(listed.to_string().contains("cannot be listed: "), "{listed}");
}

#[test]
fn what_others_could_write_is_refused() {
    let dir = Dir::new();
    let path = dir.write("open.toml", "profiles = []");
    for mode in [0o666, 0o664, 0o646] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = refusal(&path);
        assert!(refused.contains("can be written by others") && refused.contains("chmod go-w"), "{refused}");
    }
    let trusting = Sources { files: std::slice::from_ref(&path), allow_untrusted: true };
    load_from(&trusting, &[]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Only root can give files away.
    if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
        let refused = refusal(&path);
        assert!(refused.contains("belongs to user 65534") && refused.contains("chown root"), "{refused}");
    }
}

#[test]
fn long_files_are_refused_before_they_are_read() {
    let dir = Dir::new();
    let path = dir.write("long.toml", "");
    File::options().write(true).open(&path).unwrap().set_len(25 << 20).unwrap();
    assert!(refusal(&path).contains("is longer than 1048576 bytes"));
    // A file that says it has no length: the cap on reading holds.
    let endless = super::read_capped(std::io::repeat(b'#'), "stdin").unwrap_err();
    assert!(endless.what.contains("longer"));
}

#[test]
fn encodings() {
    let dir = Dir::new();
    let path = dir.write("bom.toml", "\u{feff}sysctl.\"vm.a\" = 1\r\n");
    assert_eq!(values(&load_file(&path).unwrap()), ["vm.a=Set(\"1\")"]);
    for nothing in ["", "\u{feff}", "# only a comment\n"] {
        let config = load_file(&dir.write("nothing.toml", nothing)).unwrap();
        assert!(config.sysctls.is_empty() && config.sources.len() == 1);
    }
    let path = dir.write("latin1.toml", b"# fine\nprofiles = [] # caf\xe9\n");
    let refused = refusal(&path);
    assert!(refused.contains("latin1.toml:2:20: byte 0xe9 is not UTF-8"), "{refused}");
}

#[test]
fn files_by_name_are_applied_in_their_order() {
    let dir = Dir::new();
    let files = [dir.write("z.toml", "sysctl.\"vm.a\" = 1"), dir.write("a.toml", "sysctl.\"vm.a\" = 2")];
    let config = load_from(&Sources { files: &files, allow_untrusted: false }, &[]).unwrap();
    assert_eq!(values(&config), ["vm.a=Set(\"2\")"]);
    assert_eq!(config.notes.len(), 1);
    // The mistakes of all files come at once.
    let files = [dir.write("b.toml", "colour = 1"), dir.path("missing"), dir.write("c.toml", "sound = 1")];
    let mistakes = load_from(&Sources { files: &files, allow_untrusted: false }, &[]).unwrap_err();
    assert_eq!(mistakes.total, 3);
}
