//! JSON, read: as much of it as it takes to read a report that `json.rs` wrote.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// A text.
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Word(String),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

/// How deep lists and objects may lie in each other; a report has four.
const DEEPEST: usize = 16;

impl Json {
    /// Reads a document; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (value, rest) = value(text, DEEPEST)?;
        rest.trim_ascii().is_empty().then_some(value)
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A member's text, or number; empty for null, and where there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text)) => text,
            Some(Self::Word(word)) if word != "null" => word,
            _ => "",
        }
    }

    /// The items of a member that is a list.
    pub fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }
}

fn value(text: &str, deep: usize) -> Option<(Json, &str)> {
    let text = text.trim_ascii_start();
    if let Some(rest) = text.strip_prefix('"') {
        return string(rest).map(|(text, rest)| (Json::Text(text), rest));
    }
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut items = Vec::new();
        while let Some(more) = next(rest, ']', items.is_empty())? {
            let (item, after) = value(more, deep.checked_sub(1)?)?;
            items.push(item);
            rest = after;
        }
        return Some((Json::List(items), after(rest, ']')?));
    }
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut members = Vec::new();
        while let Some(more) = next(rest, '}', members.is_empty())? {
            let (name, more) = string(after(more, '"')?)?;
            let (member, after) = value(after(more, ':')?, deep.checked_sub(1)?)?;
            members.push((name, member));
            rest = after;
        }
        return Some((Json::Object(members), after(rest, '}')?));
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (Json::Word(word.to_owned()), rest))
}

/// What follows a mark.
fn after(text: &str, mark: char) -> Option<&str> {
    text.trim_ascii_start().strip_prefix(mark)
}

/// Where the next item begins; the inner `None` at the end.
#[allow(clippy::option_option, reason = "no more of it is not the same as wrong")]
fn next(rest: &str, end: char, first: bool) -> Option<Option<&str>> {
    match (after(rest, end), first) {
        (Some(_), _) => Some(None),
        (None, true) => Some(Some(rest)),
        (None, false) => after(rest, ',').map(Some),
    }
}

/// A text up to its closing quote. Surrogates are not put together: no text of ours has any.
fn string(text: &str) -> Option<(String, &str)> {
    let (mut out, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((out, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let (digits, rest) = chars.as_str().split_at_checked(4)?;
                    out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    chars = rest.chars();
                }
                plain => out.push(plain),
            },
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "{\"a\":\"x\\\"\\n\\u001b\\\\\",\"exit\":1,\"none\":null,\"empty\":[],\"o\":{},\n\"steps\":[\n{\"id\":\"s\"},\n{}]}\n";
        let json = Json::parse(text).unwrap();
        assert_eq!((json.text("a"), json.text("exit"), json.text("none")), ("x\"\n\u{1b}\\", "1", ""));
        assert_eq!((json.list("steps").len(), json.list("empty").len(), json.list("a").len()), (2, 0, 0));
        assert_eq!(json.list("steps").first().map(|step| step.text("id")), Some("s"));
    }

    #[test]
    fn what_is_none_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[1", "[1 2]", "{\"a\"}", "{\"a\":}", "\"a", "\"\\u12", "[1,]x", "{} {}", deep.as_str()] {
            assert_eq!(Json::parse(text), None, "{}", text.len());
        }
    }
}
