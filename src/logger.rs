//! The `log` facade, and one line a run for the system's log: the journal, else syslog, the kernel's log, stderr.
//!
//! Nothing is opened before it is asked for or the first record comes. Nothing in here may stop a boot: a log that is
//! full or gone is given up for the next one, after 100 ms at most.
//!
//! The syslog crate gives the socket and the facility; the line is our own. Its own formatter stamps the time with a
//! parser, a calendar and two panics on the way, and at boot the clock may well say 1970: the log's own clock is right.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use syslog::{Facility, LogFormat, LoggerBackend, Severity};

use crate::{
    report::{self, Journal, Line, Report, Shape},
    systemd,
};

/// The kernel's log, where syslog is not up yet.
const KMSG: &str = "/dev/kmsg";
/// The kernel takes about 1,000 bytes a record (`PRINTKRB_RECORD_MAX`) and refuses more with EINVAL.
const LONGEST: usize = 900;
/// How long a full socket may hold us up.
const PATIENCE: Duration = Duration::from_millis(100);
/// Failures that are logged one by one: /dev/kmsg takes 10 lines in 5 s from one writer.
const MOST_FAILURES: usize = 8;

static LOGGER: Logger = Logger {
    sink: Mutex::new(Sink::Unopened),
    stderr_is_journal: AtomicBool::new(false),
    told: AtomicBool::new(false),
};

struct Logger {
    sink: Mutex<Sink>,
    stderr_is_journal: AtomicBool,
    told: AtomicBool,
}

enum Sink {
    Unopened,
    Journal(UnixDatagram),
    Syslog(syslog::Logger<LoggerBackend, Tag>),
    Kmsg(File),
    Stderr,
}

/// Makes this the program's logger. `shape` and `journal` say whether the printed report already is in the journal.
pub fn init(shape: Shape, journal: Journal) {
    LOGGER.told.store(journal.stdout && shape != Shape::Json, Ordering::Relaxed);
    LOGGER.stderr_is_journal.store(journal.stderr, Ordering::Relaxed);
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Opens the log that the next record will go to. Nothing depends on it.
pub fn open() {
    drop(LOGGER.sink());
}

/// Logs a run: its one line first, since a log that limits its rate drops what comes last, then each failure. systemd
/// shows the line as the status of the service.
///
/// Says nothing when there is no `news`, and nothing on stderr, right below the report. Where that report goes to the
/// journal, records with fields stand in for its summary, and `true` says that it need not be printed.
pub fn summary(report: &Report, news: bool) -> bool {
    let failures = || report.lines.iter().filter_map(|line| Some((line, report::why(line)?)));
    let status = || {
        let first = failures().next().map(|(_, why)| format!("; {why}")).unwrap_or_default();
        format!("{}{first}", report::headline(report).1)
    };
    systemd::tell_status(status, PATIENCE);
    let printed = LOGGER.told.load(Ordering::Relaxed);
    if !(news || printed) {
        return false;
    }
    let journal = LOGGER.is_journal();
    if printed && !journal {
        return false;
    }
    let (priority, headline) = report::headline(report);
    let of_run = [("BPFBOOT_VERB", report.verb), ("BPFBOOT_HEALTH", report.health.word())];
    LOGGER.tell(priority, &headline, &of_run, false);
    let most = if journal { usize::MAX } else { MOST_FAILURES };
    for (line, why) in failures().take(most) {
        let text = if journal { report::story(line).join("\n  ") } else { with_mend(line, why) };
        let errno = line.fault.as_ref().and_then(|fault| fault.errno).map(|errno| errno.to_string());
        let mut fields = of_run.to_vec();
        fields.extend([("BPFBOOT_STEP", line.id.as_str()), ("BPFBOOT_STATUS", line.status.word())]);
        fields.extend(line.fault.as_ref().map(|fault| ("BPFBOOT_CAUSE", fault.cause.word())));
        fields.extend(line.fault.as_ref().map(|fault| ("BPFBOOT_REASON", fault.reason().word())));
        fields.extend(errno.as_deref().map(|errno| ("ERRNO", errno)));
        LOGGER.tell(line.priority(), &text, &fields, false);
    }
    let more = failures().skip(most).count();
    if more > 0 {
        LOGGER.tell(4, &format!("and {more} more, see {}", report::PATH), &[], false);
    }
    printed
}

fn with_mend(line: &Line, mut why: String) -> String {
    if let Some(fault) = line.fault.as_ref().filter(|fault| !fault.mend.is_empty()) {
        let _ = write!(why, "; mend: {}", fault.mend);
    }
    why
}

impl Log for Logger {
    /// Other crates are heard from when they warn: aya tells about every map at the level of debug.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        metadata.level() <= if ours { LevelFilter::Info } else { LevelFilter::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        self.tell(priority, &format!("{}: {}", record.target(), record.args()), &[], true);
    }

    fn flush(&self) {}
}

impl Logger {
    /// The log that is next to be tried, opened.
    fn sink(&self) -> MutexGuard<'_, Sink> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*sink, Sink::Unopened) {
            *sink = match systemd::connect(systemd::JOURNAL.as_ref(), PATIENCE) {
                Ok(socket) => Sink::Journal(socket),
                Err(_) => self.after_journal(),
            };
        }
        sink
    }

    fn after_journal(&self) -> Sink {
        match self.stderr_is_journal.load(Ordering::Relaxed) {
            true => Sink::Stderr,
            false => open_syslog().unwrap_or_else(open_kmsg),
        }
    }

    fn is_journal(&self) -> bool {
        matches!(*self.sink(), Sink::Journal(_))
    }

    /// A line to the first log that takes it, the fields with it where it takes them. `or_stderr`: when there is none,
    /// stderr will do.
    fn tell(&self, priority: u8, text: &str, fields: &[(&str, &str)], or_stderr: bool) {
        let mut sink = self.sink();
        if let Sink::Journal(socket) = &*sink {
            match socket.send(&record(priority, text, fields)) {
                Ok(_) => return,
                Err(_) => *sink = self.after_journal(),
            }
        }
        let text = report::clean(text);
        let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
        loop {
            let next = match &mut *sink {
                Sink::Syslog(logger) => match send(logger, priority, text) {
                    Ok(()) => return,
                    Err(_) => open_kmsg(),
                },
                Sink::Kmsg(file) => match write_kmsg(file, priority, text) {
                    Ok(()) => return,
                    Err(_) => Sink::Stderr,
                },
                // Only the journal knows what <n> means.
                Sink::Stderr if self.stderr_is_journal.load(Ordering::Relaxed) => {
                    return report::complain(&format!("<{priority}>{text}\n"));
                }
                Sink::Stderr if or_stderr => return report::complain(&format!("bpfboot: {text}\n")),
                _ => return,
            };
            *sink = next;
        }
    }
}

fn record(priority: u8, text: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let priority = priority.to_string();
    let ours = [("MESSAGE", text), ("PRIORITY", priority.as_str()), ("SYSLOG_IDENTIFIER", "bpfboot")];
    systemd::record(&[&ours, fields].concat())
}

/// Our line for syslog: no time and no host name, which the receiver knows better.
#[derive(Clone, Copy)]
struct Tag;

impl LogFormat<&str> for Tag {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, message: &str) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        write!(w, "<{priority}>bpfboot[{}]: {message}", std::process::id()).map_err(syslog::Error::Write)
    }
}

/// Whatever the reason for `None` is, the next log is tried.
fn open_syslog() -> Option<Sink> {
    syslog::unix(Tag).ok().and_then(limit_waiting)
}

fn limit_waiting(logger: syslog::Logger<LoggerBackend, Tag>) -> Option<Sink> {
    let limited = match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(PATIENCE)),
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_write_timeout(Some(PATIENCE)),
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => Ok(()),
    };
    limited.ok().map(|()| Sink::Syslog(logger))
}

fn send(logger: &mut syslog::Logger<LoggerBackend, Tag>, priority: u8, text: &str) -> syslog::Result<()> {
    match priority {
        0..=3 => logger.err(text),
        4 => logger.warning(text),
        5 | 6 => logger.info(text),
        _ => logger.debug(text),
    }
}

fn open_kmsg() -> Sink {
    OpenOptions::new().write(true).open(KMSG).map_or(Sink::Stderr, Sink::Kmsg)
}

/// One record is one write(2). A facility of 0 would be taken for the kernel's own and is refused to us.
fn write_kmsg(file: &mut File, priority: u8, text: &str) -> io::Result<()> {
    let priority = Facility::LOG_DAEMON as u8 | priority;
    file.write_all(format!("<{priority}>bpfboot[{}]: {text}\n", std::process::id()).as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn logger(sink: Sink) -> Logger {
        Logger { sink: Mutex::new(sink), stderr_is_journal: AtomicBool::new(false), told: AtomicBool::new(false) }
    }

    #[test]
    fn a_line_for_syslog_is_one_short_datagram() {
        let path = std::env::temp_dir().join(format!("bpfboot-log-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let receiver = UnixDatagram::bind(&path).unwrap();
        let logger = logger(Sink::Syslog(syslog::unix_custom(Tag, &path).unwrap()));
        let mut buffer = [0; 4096];
        let mut heard = || {
            let length = receiver.recv(&mut buffer).unwrap();
            String::from_utf8(buffer.get(..length).unwrap().to_vec()).unwrap()
        };
        let pid = std::process::id();
        logger.tell(6, "healthy\n<0>forged", &[], false);
        assert_eq!(heard(), format!("<30>bpfboot[{pid}]: healthy\\n<0>forged"));
        logger.tell(3, &"é".repeat(4000), &[], false);
        let long = heard();
        assert!(long.starts_with("<27>bpfboot") && (900..960).contains(&long.len()), "{}", long.len());
        // Nobody listens any more: the next log is taken, and this one is not tried again.
        drop(receiver);
        std::fs::remove_file(&path).unwrap();
        logger.tell(7, "a test of bpfboot's logger", &[], false);
        assert!(!matches!(*logger.sink.lock().unwrap(), Sink::Syslog(_)));
    }

    #[test]
    fn a_full_log_does_not_stop_a_boot() {
        let path = std::env::temp_dir().join(format!("bpfboot-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let logger = logger(limit_waiting(syslog::unix_custom(Tag, &path).unwrap()).unwrap());
        let start = std::time::Instant::now();
        while matches!(*logger.sink.lock().unwrap(), Sink::Syslog(_)) {
            logger.tell(7, "a test of bpfboot's logger", &[], false);
            assert!(start.elapsed() < 20 * PATIENCE, "the socket never filled, or we wait each time");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_log_that_takes_nothing_is_given_up() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let logger = logger(Sink::Kmsg(full));
        logger.tell(6, "lost", &[], false);
        assert!(matches!(*logger.sink.lock().unwrap(), Sink::Stderr));
    }

    #[test]
    fn other_crates_must_warn_to_be_heard() {
        let enabled = |target, level| LOGGER.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(enabled("bpfboot::tune", Level::Info) && !enabled("bpfboot", Level::Debug));
        assert!(enabled("aya::bpf", Level::Warn) && !enabled("aya::bpf", Level::Info));
    }
}
