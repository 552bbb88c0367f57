//! The report as a picture (SVG 1.1): a row a step, and its time from left to right. For a browser: no script, no font
//! of its own, and colours for light and dark.
//!
//! Nobody here can measure a text, so every text is monospaced, has room for so many columns, and is cut to fit.

mod parts;

use std::{fmt, time::Duration};

use parts::{STORY, Xml, class, columns, cut, health_class, shape, tick, tip, wrapped};

use super::{
    Line, Report, Status,
    people::{clean, human, micros, put, story, tally},
};
use crate::step::Phase;

/// The whole width, in pixels like all that follows.
const WIDTH: u32 = 1120;
/// Left and right of everything.
const MARGIN: u32 = 24;
/// Where names begin, after the mark.
const NAME: u32 = MARGIN + 20;
/// The column of durations.
const TOOK: u32 = 76;
/// The height of a row.
const ROW: u32 = 20;
/// Columns of a name at most.
const LONGEST: usize = 46;

/// Draws the run.
///
/// # Errors
/// A step does not say when it began.
pub fn picture(report: &Report) -> Result<String, String> {
    let untimed = |line: &&Line| line.at.is_none();
    if let Some(line) = report.lines.iter().find(untimed) {
        return Err(format!("{}: at_us is missing: an earlier bpfboot wrote this report; draw a new run", line.id));
    }
    let end = report.lines.iter().map(|line| at(line) + line.took).chain([report.took]).max().unwrap_or_default();
    let columns = report.lines.iter().map(|line| columns(&line.id)).max().unwrap_or(0).clamp(12, LONGEST);
    // A column of 12 pixels takes 7.22 in DejaVu Sans Mono, and less in others.
    let left = NAME + (columns as u32 * 73).div_ceil(10) + 16;
    let mut drawing =
        Drawing { out: String::new(), y: 0, columns, left, right: WIDTH - MARGIN - TOOK, end: micros(end).max(1) };
    drawing.head(report);
    let top = drawing.y;
    drawing.axis();
    drawing.overview(report);
    for group in groups(report) {
        drawing.group(&group);
    }
    let bottom = drawing.y + 6;
    drawing.rest(report);
    Ok(drawing.whole(report, top, bottom))
}

fn at(line: &Line) -> Duration {
    line.at.unwrap_or_default()
}

/// Steps of one phase, or of taking back, in the order of time.
struct Group<'a> {
    word: &'static str,
    lines: Vec<&'a Line>,
    from: Duration,
    to: Duration,
}

impl<'a> Group<'a> {
    const fn new(word: &'static str) -> Self {
        Self { word, lines: Vec::new(), from: Duration::MAX, to: Duration::ZERO }
    }

    fn add(&mut self, line: &'a Line) {
        self.from = self.from.min(at(line));
        self.to = self.to.max(at(line) + line.took);
        let place = self.lines.iter().rposition(|other| at(other) <= at(line));
        self.lines.insert(place.map_or(0, |place| place + 1), line);
    }
}

/// What is put back belongs to the phase it is taken out of, but happens when the run has failed.
fn groups(report: &Report) -> Vec<Group<'_>> {
    let undoing = report.lines.iter().position(|line| line.status == Status::Undone);
    let mut groups: Vec<Group<'_>> = Phase::ALL.into_iter().map(|phase| Group::new(phase.word())).collect();
    groups.push(Group::new("undo"));
    for (nth, line) in report.lines.iter().enumerate() {
        let place = if undoing.is_some_and(|first| nth >= first) { Phase::ALL.len() } else { line.phase as usize };
        if let Some(group) = groups.get_mut(place) {
            group.add(line);
        }
    }
    groups.retain(|group| !group.lines.is_empty());
    groups
}

/// The picture so far, drawn from its top.
struct Drawing {
    out: String,
    /// How far down.
    y: u32,
    /// Of names.
    columns: usize,
    /// Where the time begins.
    left: u32,
    /// Where it ends.
    right: u32,
    /// How long that is, in microseconds.
    end: u64,
}

impl Drawing {
    fn add(&mut self, text: fmt::Arguments<'_>) {
        put(&mut self.out, text);
        self.out.push('\n');
    }

    /// Where a time is, in tenths of a pixel.
    fn x(&self, micros: u64) -> u64 {
        let width = u64::from(self.right - self.left) * 10;
        // A product that fits, also in a report that says millennia.
        let scale = 1 + (self.end >> 48);
        let x = (micros.min(self.end) / scale) * width / (self.end / scale);
        u64::from(self.left) * 10 + x.min(width)
    }

    /// A bar from one time to another, wide enough to be seen.
    fn bar(&mut self, class: &str, from: Duration, to: Duration, y: u32, height: u32) {
        const LEAST: u64 = 25;
        let (from, to, right) = (self.x(micros(from)), self.x(micros(to)), u64::from(self.right) * 10);
        let from = from.min(right - LEAST);
        let width = to.saturating_sub(from).max(LEAST);
        let (x, x_rest, w, w_rest) = (from / 10, from % 10, width / 10, width % 10);
        self.add(format_args!(
            "<rect class=\"bar {class}\" x=\"{x}.{x_rest}\" y=\"{y}\" width=\"{w}.{w_rest}\" height=\"{height}\" rx=\"1\"/>"
        ));
    }

    fn text(&mut self, class: &str, x: u32, y: u32, text: &str) {
        self.add(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", Xml(text)));
    }

    fn mark(&mut self, class: &str, status: Status, x: u32, y: u32) {
        let shape = shape(status);
        self.add(format_args!("<path class=\"icon {class}\" transform=\"translate({x} {y})\" d=\"{shape}\"/>"));
    }

    fn head(&mut self, report: &Report) {
        let (health, class, took) = (report.health.word(), health_class(report.health), human(report.took));
        let verb = clean(report.verb);
        self.add(format_args!(
            "<text class=\"title\" x=\"{MARGIN}\" y=\"38\">bpfboot {}: <tspan class=\"say {class}\">{health}</tspan> in {took}</text>",
            Xml(&verb)
        ));
        let about = format!("{}  ·  Linux {}  ·  {}", report.began, report.release, report.sources.join(" "));
        self.text("soft", MARGIN, 60, &cut(&clean(about.trim_matches([' ', '·'])), STORY));
        // How many came to what, each with its mark.
        let mut x = MARGIN + 6;
        for counted in tally(&report.lines).split(", ") {
            let word = counted.split(' ').next_back().unwrap_or_default();
            if let Some(status) = Status::ALL
                .into_iter()
                .find(|status| status.word() == word || (*status, word) == (Status::Failed, "ignored"))
            {
                self.mark(word, status, x, 80);
            }
            self.text("", x + 12, 84, counted);
            x += 12 + 8 * (counted.len() as u32 + 3);
        }
        self.y = 118;
    }

    fn axis(&mut self) {
        let step = tick(self.end);
        for nth in 0..=self.end / step {
            let (time, x) = (nth * step, self.x(nth * step));
            let label = match step {
                0..1_000 => format!("{time} us"),
                1_000..1_000_000 => format!("{} ms", time / 1_000),
                _ => format!("{} s", time / 1_000_000),
            };
            let label = if nth == 0 { "0" } else { &label };
            self.text("soft small mid", x.div_ceil(10) as u32, self.y, label);
        }
        self.y += 8;
    }

    /// All phases in one row, and what the loader did at once, side by side.
    fn overview(&mut self, report: &Report) {
        let groups = groups(report);
        self.text("soft", NAME, self.y + 12, "phases");
        // Before the first step nothing is done, and most of a run that finds all as planned is that.
        let first = groups.iter().map(|group| group.from).min().unwrap_or_default();
        self.phase("look", "the machine is looked at, and the plan is made", "plan", Duration::ZERO, first);
        for group in &groups {
            self.phase("band", group.word, group.word, group.from, group.to);
        }
        self.y += ROW;
        let lanes =
            lanes(groups.iter().filter(|group| group.word == Phase::Load.word()).flat_map(|group| &group.lines));
        if lanes.len() > 1 {
            let height = if lanes.len() > 8 { 4 } else { 8 };
            self.text("soft", NAME, self.y + 10, &format!("loads, {} at once", lanes.len()));
            for (nth, lane) in (0..).zip(&lanes) {
                for line in lane {
                    self.add(format_args!("<g><title>{}</title>", Xml(&tip(line))));
                    self.bar(class(line), at(line), at(line) + line.took, self.y + 2 + nth * (height + 2), height);
                    self.add(format_args!("</g>"));
                }
            }
            self.y += (lanes.len() as u32 * (height + 2)).max(ROW - 6) + 6;
        }
    }

    fn phase(&mut self, class: &str, told: &str, word: &str, from: Duration, to: Duration) {
        self.add(format_args!("<g><title>{told}: {}</title>", human(to.saturating_sub(from))));
        self.bar(class, from, to, self.y + 1, 14);
        let (from, to) = (self.x(micros(from)), self.x(micros(to)));
        if (to - from) / 10 > 8 * word.len() as u64 {
            self.text("small mid", ((from + to) / 20) as u32, self.y + 12, word);
        }
        self.add(format_args!("</g>"));
    }

    fn group(&mut self, group: &Group<'_>) {
        self.y += 12;
        self.text("phase", MARGIN, self.y + 14, group.word);
        let took = group.to.saturating_sub(group.from);
        self.bar("band", group.from, group.to, self.y + 8, 4);
        self.text("soft end", WIDTH - MARGIN, self.y + 14, &human(took));
        self.y += ROW;
        for line in &group.lines {
            self.step(line);
        }
    }

    fn step(&mut self, line: &Line) {
        let story: Vec<String> = story(line).iter().flat_map(|row| wrapped(row)).collect();
        let around = match line.priority() {
            3 => "step bad",
            4 => "step weak",
            _ => "step",
        };
        let (y, height, class) = (self.y, ROW + 16 * story.len() as u32, class(line));
        self.add(format_args!("<g class=\"{around}\"><title>{}</title>", Xml(&tip(line))));
        self.add(format_args!(
            "<rect class=\"area\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"3\"/>",
            MARGIN - 8,
            WIDTH - 2 * MARGIN + 16
        ));
        let (x, middle) = (MARGIN + 8, y + ROW / 2);
        self.mark(class, line.status, x, middle);
        self.text("", NAME, y + 14, &cut(&clean(&line.id), self.columns));
        self.bar(class, at(line), at(line) + line.took, y + 5, 10);
        if line.took > Duration::ZERO {
            self.text("soft end", WIDTH - MARGIN, y + 14, &human(line.took));
        }
        for (nth, row) in (0..).zip(&story) {
            self.text("small", NAME, y + ROW + 11 + 16 * nth, row);
        }
        self.add(format_args!("</g>"));
        self.y += height;
    }

    /// What concerns the whole run.
    fn rest(&mut self, report: &Report) {
        self.y += 18;
        let left = report.leftovers.iter().map(|left| format!("left: {left}"));
        for row in left.chain(report.notes.iter().map(|note| format!("note: {note}"))) {
            for row in wrapped(&clean(&row)) {
                self.y += 16;
                self.text("small", MARGIN, self.y, &row);
            }
        }
        self.y += MARGIN;
    }

    /// The whole document. The lines of the axis go from `top` to `bottom`, behind all.
    fn whole(mut self, report: &Report, top: u32, bottom: u32) -> String {
        let (body, height, step) = (std::mem::take(&mut self.out), self.y, tick(self.end));
        let title = format!("bpfboot {}: {} in {}", report.verb, report.health.word(), human(report.took));
        self.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">"
        ));
        self.add(format_args!("<title>{}</title>", Xml(&clean(&title))));
        self.add(format_args!("<style>\n{}</style>", include_str!("picture.css")));
        self.add(format_args!("<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>"));
        for nth in 0..=self.end / step {
            let x = self.x(nth * step) / 10;
            self.add(format_args!("<path class=\"grid\" d=\"M{x}.5 {}V{bottom}\"/>", top + 6));
        }
        self.out.push_str(&body);
        self.out.push_str("</svg>\n");
        self.out
    }
}

/// Whether all CPUs share it with others of its kind.
fn is_loaded(line: &Line) -> bool {
    line.took > Duration::ZERO && ["map ", "program "].iter().any(|kind| line.id.starts_with(kind))
}

/// Maps and programs in as few lanes as can be, so that none overlaps another: as many as were loaded at once.
fn lanes<'a>(lines: impl Iterator<Item = &'a &'a Line>) -> Vec<Vec<&'a Line>> {
    let mut lanes: Vec<Vec<&Line>> = Vec::new();
    for line in lines.filter(|line| is_loaded(line)) {
        let free = |lane: &&mut Vec<&Line>| lane.last().is_none_or(|last| at(last) + last.took <= at(line));
        match lanes.iter_mut().find(free) {
            Some(lane) => lane.push(line),
            None => lanes.push(vec![line]),
        }
    }
    lanes
}
