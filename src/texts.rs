//! Long texts that are read when somebody asks for them, packed as one by build.rs. What a healthy boot reads is not
//! among them, but where a memory limit has maps counted.

use std::sync::OnceLock;

/// One of them, in the order of `TEXTS` in build.rs.
#[derive(Clone, Copy, Debug)]
pub enum Text {
    /// What `--help` says.
    Help,
    /// What there is to know: `explain`.
    Knowledge,
    /// The families of the textfile.
    Metrics,
    /// The errnos.
    Errno,
    /// What maps take.
    Formulas,
    /// The sizes of the kernel's structures.
    Structs,
    /// Which kernel brought what.
    Since,
    /// What takes which options of a kernel.
    Requires,
    /// `render`.
    Systemd,
    /// `render`.
    Docker,
    /// `render`.
    Compose,
    /// `render`.
    Kubernetes,
    /// `render`.
    Oci,
}

impl Text {
    /// The whole of it.
    pub fn read(self) -> &'static str {
        static UNPACKED: OnceLock<String> = OnceLock::new();
        let all = UNPACKED.get_or_init(|| {
            let packed = include_bytes!(concat!(env!("OUT_DIR"), "/texts.lz4"));
            let bytes = lz4_flex::block::decompress_size_prepended(packed).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        });
        all.split('\0').nth(self as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_one_it_is_called() {
        for (text, file) in [
            (Text::Help, include_str!("cli/help.txt")),
            (Text::Knowledge, include_str!("knowledge.txt")),
            (Text::Metrics, include_str!("report/metrics.txt")),
            (Text::Errno, include_str!("errno.txt")),
            (Text::Formulas, include_str!("bpf/formulas.txt")),
            (Text::Structs, include_str!("bpf/structs.txt")),
            (Text::Since, include_str!("bpf/since.txt")),
            (Text::Requires, include_str!("requires.txt")),
            (Text::Systemd, include_str!("render/systemd")),
            (Text::Docker, include_str!("render/docker")),
            (Text::Compose, include_str!("render/compose")),
            (Text::Kubernetes, include_str!("render/kubernetes")),
            (Text::Oci, include_str!("render/oci")),
        ] {
            assert_eq!(text.read(), file, "{text:?}");
        }
    }
}
