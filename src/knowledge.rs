//! What there is to know, as text: a page each for every cause, reason, errno, capability and key that needs one. Packed
//! by build.rs out of `knowledge.txt`, whose head says how it is written.

use std::sync::OnceLock;

use crate::reason::Reason;

/// A page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// What it is a page of: `reason`, `cause`, `errno`, `capability`, `key`.
    pub kind: &'static str,
    /// Its name first, then others for it.
    pub names: &'static str,
    /// Who refuses; empty where that is no question.
    pub who: &'static str,
    /// What there is to say.
    pub text: &'static str,
    /// What mends it; empty where nothing is broken.
    pub mend: &'static str,
}

impl Page {
    /// Its own name.
    pub fn name(&self) -> &'static str {
        self.names.split(' ').next().unwrap_or_default()
    }

    /// Whether that is a name of it.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.split(' ').any(|known| known.eq_ignore_ascii_case(name))
    }

    fn parse(page: &'static str) -> Option<Self> {
        let (head, body) = page.split_once('\n')?;
        let (kind, names) = head.split_once(' ')?;
        let (mut who, mut mend, mut text) = ("", "", body.trim_end());
        if let Some((before, line)) = text.rsplit_once("\nmend: ") {
            (text, mend) = (before, line);
        }
        if let Some((line, after)) = text.strip_prefix("who: ").and_then(|rest| rest.split_once('\n')) {
            (who, text) = (line, after);
        }
        Some(Self { kind, names, who, text, mend })
    }
}

/// Every page, in the order of the file.
pub fn pages() -> impl Iterator<Item = Page> {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/knowledge.lz4"));
        let bytes = lz4_flex::block::decompress_size_prepended(packed).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    });
    text.split("\n# ").skip(1).filter_map(Page::parse)
}

/// The page of a reason.
pub fn of(reason: Reason) -> Option<Page> {
    pages().find(|page| page.kind == "reason" && page.name() == reason.word())
}

/// What mends a reason.
pub fn mend(reason: Reason) -> &'static str {
    of(reason).map_or("", |page| page.mend)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error::Cause;

    #[test]
    fn every_reason_and_every_cause_has_a_page_and_no_two_the_same_text() {
        let mut texts = BTreeMap::new();
        for reason in Reason::ALL {
            let page = of(*reason).unwrap_or_else(|| panic!("no page of {}", reason.word()));
            assert!(!page.mend.is_empty() && !page.who.is_empty(), "{page:?}");
            for text in [page.text, page.mend] {
                assert_eq!(texts.insert(text, page.names), None, "{text}");
            }
        }
        for cause in Cause::ALL {
            assert!(pages().any(|page| page.kind == "cause" && page.name() == cause.word()), "{}", cause.word());
        }
    }

    #[test]
    fn no_page_is_of_nothing_and_no_name_is_taken_twice() {
        let mut names = BTreeMap::new();
        for page in pages() {
            assert!(!page.text.is_empty(), "{page:?}");
            assert!(page.text.lines().all(|line| line.len() <= 124), "{page:?}");
            match page.kind {
                "reason" => assert!(Reason::from_word(page.name()).is_some(), "{page:?}"),
                "cause" => assert!(Cause::from_word(page.name()).is_some(), "{page:?}"),
                "errno" | "capability" | "key" => {}
                kind => panic!("{kind}"),
            }
            for name in page.names.split(' ') {
                assert_eq!(names.insert((page.kind, name), page.names), None, "{name}");
            }
        }
    }
}
