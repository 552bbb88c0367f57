//! A small reader of JSON (RFC 8259), for the document that `json` writes: of numbers it knows whole ones.

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// `null`, `true` or `false`.
    Word(&'static str),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Names and values, in the order they came.
    Object(Vec<(String, Value)>),
}

/// Values within values. Ours has five; more is no reason to run out of stack.
const DEEPEST: u32 = 32;

/// Reads one document.
///
/// # Errors
/// What is wrong in which line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value().and_then(|value| if reader.peek().is_none() { Some(value) } else { None });
    value.ok_or_else(|| {
        let read = text.len() - reader.rest.len();
        let line = 1 + text.bytes().take(read).filter(|byte| *byte == b'\n').count();
        format!("line {line} is not as JSON has it")
    })
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

impl Reader<'_> {
    /// The next character that means something.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.chars().next()
    }

    /// Takes a character, if it is the next one that means something.
    fn eat(&mut self, wanted: char) -> Option<()> {
        self.peek().filter(|c| *c == wanted)?;
        self.next().map(drop)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..)?;
        Some(c)
    }

    fn value(&mut self) -> Option<Value> {
        match self.peek()? {
            '"' => self.text().map(Value::Text),
            '[' => self.items(']', Self::value).map(Value::List),
            '{' => self.items('}', Self::member).map(Value::Object),
            '-' | '0'..='9' => self.number(),
            _ => {
                let word = ["null", "true", "false"].into_iter().find(|word| self.rest.starts_with(word))?;
                self.rest = self.rest.get(word.len()..)?;
                Some(Value::Word(word))
            }
        }
    }

    fn member(&mut self) -> Option<(String, Value)> {
        self.peek()?;
        let name = self.text()?;
        self.eat(':')?;
        Some((name, self.value()?))
    }

    fn items<T>(&mut self, close: char, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.next()?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut items = Vec::new();
        while self.eat(close).is_none() {
            if !items.is_empty() {
                self.eat(',')?;
            }
            items.push(one(self)?);
        }
        self.depth -= 1;
        Some(items)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'));
        let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let digits = number.trim_start_matches('-');
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        let value = number.parse().ok()?;
        self.rest = rest;
        Some(Value::Number(value))
    }

    fn text(&mut self) -> Option<String> {
        self.next().filter(|c| *c == '"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                '\0'..='\x1f' => return None,
                c => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\x08',
            'f' => '\x0c',
            c @ ('"' | '\\' | '/') => c,
            'u' => {
                let first = self.unit()?;
                // What is beyond 16 bits comes in two halves.
                match char::from_u32(first) {
                    Some(c) => c,
                    None => {
                        self.rest = self.rest.strip_prefix("\\u")?;
                        let (high, low) = (first.checked_sub(0xd800)?, self.unit()?.checked_sub(0xdc00)?);
                        (high < 0x400 && low < 0x400).then(|| char::from_u32(0x10000 + (high << 10) + low))??
                    }
                }
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    /// The same as a reader that is not ours has it.
    fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
        match ours {
            Value::Word(word) => serde_json::from_str::<serde_json::Value>(word).unwrap() == *theirs,
            Value::Number(number) => theirs.as_i64() == Some(*number),
            Value::Text(text) => theirs.as_str() == Some(text),
            Value::List(list) => theirs.as_array().is_some_and(|theirs| {
                list.len() == theirs.len() && list.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
            }),
            Value::Object(members) => theirs.as_object().is_some_and(|theirs| {
                members.len() == theirs.len()
                    && members.iter().all(|(name, ours)| theirs.get(name).is_some_and(|theirs| same(ours, theirs)))
            }),
        }
    }

    const GOOD: [&str; 6] = [
        r#" {"a": [1, -20, 0, null, true, false, []], "b": {}, "": "\u00e9\ud83d\ude00\n\t\"\\\/\b\f\r"} "#,
        "\"\u{7f}\u{2028}é😀\"",
        "-922337203685477580",
        "[[[[[[[[[[1]]]]]]]]]]",
        "{\"a\":{\"b\":{\"c\":[{}]}}}\n",
        "null",
    ];

    #[test]
    fn what_it_reads_is_what_others_read() {
        for text in GOOD {
            assert!(same(&parse(text).unwrap(), &serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn every_end_and_every_changed_byte_is_survived() {
        for text in GOOD {
            for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
                assert_eq!(parse(&text[..at]).is_ok(), serde_json::from_str::<serde_json::Value>(&text[..at]).is_ok());
                for byte in [b'"', b'\\', b'{', b'}', b',', b'0', b' ', b'-', b'u', 1] {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] = byte;
                    let Ok(changed) = String::from_utf8(bytes) else { continue };
                    let theirs: Result<serde_json::Value, _> = serde_json::from_str(&changed);
                    match (parse(&changed), &theirs) {
                        // A name that stands twice is kept twice.
                        (Ok(ours), Ok(theirs)) => {
                            assert!(same(&ours, theirs) || changed.contains("\"\":"), "{changed}")
                        }
                        (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_ok(), "{changed}"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_is_refused_by_its_line() {
        for text in ["", "{", "[1,]", "[,1]", "{\"a\"}", "01", "1 2", "\"\\ud800\"", "\"\\ud800\\u0041\"", "'a'", "nul"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("{\n\"a\": x}"), Err("line 2 is not as JSON has it".into()));
        assert!(parse(&"[".repeat(1_000_000)).is_err());
        // Not ours.
        assert!(parse("1.5").is_err());
    }
}
