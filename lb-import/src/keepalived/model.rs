//! Reads keepalived.conf as a tree of directives.

use super::lexer::{Token, tokens};
use crate::ledger::{Id, Ledger};

/// A directive, and the block in braces that belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    /// The directive's words, the keyword first.
    pub(crate) words: Vec<String>,
    /// The directives in the block of this directive.
    pub(crate) inner: Vec<Node>,
}

impl Node {
    pub(crate) fn keyword(&self) -> &str {
        self.words.first().map_or("", |word| word)
    }

    /// Returns the word at an index; the keyword has index 0. Empty if there are fewer words.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| word)
    }

    /// Returns the last directive in the block with this keyword.
    pub(crate) fn find(&self, keyword: &str) -> Option<&Node> {
        self.inner.iter().rfind(|node| node.keyword() == keyword)
    }

    /// Returns the ledger numbers of this directive and of all directives in its block, at any
    /// depth.
    pub(crate) fn ids(&self) -> Vec<Id> {
        let mut ids = vec![self.id];
        ids.extend(self.inner.iter().flat_map(Node::ids));
        ids
    }
}

/// Maximum depth of blocks within blocks.
const DEEPEST: usize = 32;

/// Reads keepalived.conf. A directive whose value is not in the file is entered in the ledger (the
/// list of all directives and what became of them) with the reason, and [`is_read`] is false for
/// it.
pub(crate) fn read(file: &str, text: &str, ledger: &mut Ledger) -> Vec<Node> {
    let mut reader = Reader {
        open: vec![Vec::new()],
        ledger,
        file,
    };
    for (number, line) in (1_u32..).zip(text.lines()) {
        reader.line(number, line);
    }
    while reader.open.len() > 1 {
        reader.close();
    }
    reader.open.pop().unwrap_or_default()
}

struct Reader<'l> {
    /// The directives read so far of each open block, the outermost first.
    open: Vec<Vec<Node>>,
    ledger: &'l mut Ledger,
    file: &'l str,
}

impl Reader<'_> {
    fn line(&mut self, number: u32, line: &str) {
        let mut words = Vec::new();
        for token in tokens(line) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    self.directive(number, std::mem::take(&mut words));
                    self.open();
                }
                Token::Close => {
                    self.directive(number, std::mem::take(&mut words));
                    self.close();
                }
            }
        }
        self.directive(number, words);
    }

    fn directive(&mut self, number: u32, words: Vec<String>) {
        if words.is_empty() {
            return;
        }
        let id = self.ledger.enter(self.file, number, &words.join(" "));
        if let Some(why) = unread(&words) {
            self.ledger.lose(id, why);
        }
        if let Some(block) = self.open.last_mut() {
            block.push(Node {
                id,
                words,
                inner: Vec::new(),
            });
        }
    }

    /// Opens the block of the last directive. The directives of a block that follows no directive
    /// are read as part of the enclosing block.
    fn open(&mut self) {
        let has_directive = self.open.last().is_some_and(|block| !block.is_empty());
        if has_directive && self.open.len() < DEEPEST {
            self.open.push(Vec::new());
        }
    }

    fn close(&mut self) {
        if self.open.len() < 2 {
            return;
        }
        let inner = self.open.pop().unwrap_or_default();
        if let Some(node) = self.open.last_mut().and_then(|block| block.last_mut()) {
            node.inner.extend(inner);
        }
    }
}

/// Returns why keepalived would read a directive differently from these words, such as by expanding
/// a definition in them; `None` if it would read the same words.
fn unread(words: &[String]) -> Option<String> {
    let first = words.first().map_or("", |word| word);
    if matches!(
        first,
        "include" | "includer" | "includem" | "includew" | "includeb"
    ) {
        return Some("the included file is not read: put its content here".to_owned());
    }
    if words.iter().any(|word| crate::ledger::is_template(word)) {
        return Some(crate::ledger::OF_TEMPLATE.to_owned());
    }
    if first.starts_with('$') || first.starts_with('~') {
        return Some("definitions are not expanded: write the value where it is used".to_owned());
    }
    if first.starts_with('@') {
        return Some(
            "it applies to some configurations only: remove the @ word if it applies here"
                .to_owned(),
        );
    }
    words
        .iter()
        .any(|word| word.contains('$'))
        .then(|| "it uses a definition, which is not expanded: write the value itself".to_owned())
}

/// Whether keepalived would read the directive as the words in the tree are. The tree also contains
/// directives for which this is false, such as those that use a definition.
pub(crate) fn is_read(node: &Node) -> bool {
    unread(&node.words).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brace_may_stand_on_a_line_of_its_own() {
        let text = "vrrp_instance A\n{\n  unicast_peer # x\n  {\n 10.0.0.1\n\n }\n priority 5\n}\nglobal_defs { router_id x }\n";
        let nodes = read("k", text, &mut Ledger::default());
        let keywords = |nodes: &[Node]| {
            nodes
                .iter()
                .map(|node| node.words.join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(keywords(&nodes), ["vrrp_instance A", "global_defs"]);
        assert_eq!(keywords(&nodes[0].inner), ["unicast_peer", "priority 5"]);
        assert_eq!(keywords(&nodes[0].inner[0].inner), ["10.0.0.1"]);
        assert_eq!(keywords(&nodes[1].inner), ["router_id x"]);
    }
}
