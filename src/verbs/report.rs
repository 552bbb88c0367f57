//! `report`: what a run said, once more: as lines, as its document, or as a picture. Looks at nothing else.

use std::{fs, path::Path};

use crate::{
    cli::Options,
    health::Health,
    report::{self, Journal, Kept, Printer, Shape, clean, complain, say},
};

/// Prints the report in `file`, or the last one; `-` is stdin. `svg`: draws it into that file instead, or on stdout.
pub fn report(options: &Options, svg: Option<&Path>, file: Option<&Path>) -> Health {
    let path = file.unwrap_or(Path::new(report::PATH));
    match again(options, svg, path) {
        Ok(()) => Health::Healthy,
        Err((health, at, why)) => {
            let mend = if file.is_none() { "; mend: bpfboot apply" } else { "" };
            complain(&format!("bpfboot: {}: {}{mend}\n", at.display(), clean(&why)));
            health
        }
    }
}

fn again<'p>(options: &Options, svg: Option<&'p Path>, path: &'p Path) -> Result<(), (Health, &'p Path, String)> {
    let bad = |why: String| (Health::BadInput, path, format!("no report of a run: {why}"));
    let from = if path == Path::new("-") { Path::new("/proc/self/fd/0") } else { path };
    let document = fs::read_to_string(from).map_err(|error| bad(error.to_string()))?;
    let (mut run, version) = report::told(&document).map_err(bad)?;
    if let Some(to) = svg {
        let picture = report::picture(&run).map_err(bad)?;
        if to == Path::new("-") {
            say(&picture);
        } else {
            fs::write(to, picture).map_err(|error| (Health::Failed, to, error.to_string()))?;
        }
        return Ok(());
    }
    if options.shape == Shape::Json {
        say(&document);
        return Ok(());
    }
    let mut printer = Printer::new(options.shape, options.color, Journal::default(), run.verb, false);
    printer.fit(run.lines.iter().map(|line| line.id.as_str()));
    run.lines.iter().for_each(|line| printer.line(line));
    run.notes.push(format!("the report of {} of bpfboot {version} on Linux {}", run.began, run.release));
    printer.finish(&run, &document, &Kept::Unwanted, false);
    Ok(())
}
