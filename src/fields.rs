//! Lines of text fields that any content survives: split by tabs, with tab, newline and backslash escaped.

/// Most fields of a line: a field of no bytes still takes the memory of a `String`.
const FIELDS_MAX: usize = 64;

/// One line, its newline included.
pub fn join<S: AsRef<str>>(fields: &[S]) -> String {
    let mut line = String::with_capacity(fields.iter().map(|field| field.as_ref().len() + 1).sum());
    for field in fields {
        escape(field.as_ref(), &mut line);
        line.push('\t');
    }
    line.pop();
    line.push('\n');
    line
}

/// The fields of a line without its newline; `None` when [`join`] cannot have made it.
pub fn split(line: &str) -> Option<Vec<String>> {
    line.splitn(FIELDS_MAX + 1, '\t').enumerate().map(|(n, field)| unescape(field).filter(|_| n < FIELDS_MAX)).collect()
}

fn escape(field: &str, line: &mut String) {
    if !field.bytes().any(|byte| matches!(byte, b'\\' | b'\t' | b'\n')) {
        return line.push_str(field);
    }
    for c in field.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\t' => line.push_str("\\t"),
            '\n' => line.push_str("\\n"),
            c => line.push(c),
        }
    }
}

fn unescape(field: &str) -> Option<String> {
    if !field.contains('\\') {
        return Some(field.to_owned());
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_content_comes_back() {
        let fields = ["", "plain", "tab\there", "line\nbreak", "back\\slash\\t", "\u{1b}[0m"].map(str::to_owned);
        let line = join(&fields);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(split(line.trim_end_matches('\n')), Some(fields.to_vec()));
        assert_eq!(split("bad\\q"), None);
    }
}
