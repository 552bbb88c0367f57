//! `report`: what a run said, once more: as lines, as its document, or as a picture. Looks at nothing else.

use std::{fs, io, path::Path};

use crate::{
    cli::Options,
    health::Health,
    report::{self, Journal, Kept, Printer, Shape, clean, complain, say},
};

/// Prints the report in `file`, or the last one; `-` is stdin. `svg`: draws it into that file instead, or on stdout.
pub fn report(options: &Options, svg: Option<&Path>, file: Option<&Path>) -> Health {
    let path = file.unwrap_or(Path::new(report::PATH));
    let told = |health, what: String| {
        complain(&format!("bpfboot: {}\n", clean(&what)));
        health
    };
    let from = if path == Path::new("-") { Path::new("/proc/self/fd/0") } else { path };
    let document = match fs::read_to_string(from) {
        Ok(document) => document,
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return told(
                Health::BadInput,
                format!("no run has left a report in {}; mend: bpfboot apply", path.display()),
            );
        }
        Err(error) => return told(Health::BadInput, format!("{}: {error}", path.display())),
    };
    let no_report = |why: String| told(Health::BadInput, format!("{}: no report of a run: {why}", path.display()));
    let (mut run, version) = match report::read(&document) {
        Ok(run) => run,
        Err(why) => return no_report(why),
    };
    if let Some(to) = svg {
        return match report::picture(&run) {
            Ok(picture) if to == Path::new("-") => {
                say(&picture);
                Health::Healthy
            }
            Ok(picture) => match fs::write(to, picture) {
                Ok(()) => Health::Healthy,
                Err(error) => told(Health::Failed, format!("{}: {error}", to.display())),
            },
            Err(why) => no_report(why),
        };
    }
    if options.shape == Shape::Json {
        say(&document);
        return Health::Healthy;
    }
    let mut printer = Printer::new(options.shape, options.color, Journal::default(), run.verb, false);
    printer.fit(run.lines.iter().map(|line| line.id.as_str()));
    run.lines.iter().for_each(|line| printer.line(line));
    let began = if run.began.is_empty() { String::new() } else { format!(" of {}", run.began) };
    run.notes.push(format!("the report{began} of bpfboot {version} on Linux {}", run.release));
    printer.finish(&run, &document, &Kept::Unwanted, false);
    Health::Healthy
}
