//! Reads the repository for the tidy checks: which files there are, and their code as tokens.
//!
//! **Invariant:** tokens never come from a comment, a string or a character literal, and each one
//! knows its line. Not a parser: it pairs braces and finds names, which is all the checks need.
//! Not here: what is allowed (the parent file).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One identifier, number or punctuation mark of a Rust file; `::` is one token.
pub(crate) struct Token {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// One Rust file of the repository.
pub(crate) struct Source {
    /// Relative to the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

/// The file that a `mod name;` means.
pub(crate) struct Declared {
    file: String,
    test_only: bool,
}

pub(crate) fn root() -> PathBuf {
    // Asked for at run time: checkouts that share a target directory share this program too.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).join("..").canonicalize().unwrap()
}

/// Every file that is or would be committed and is UTF-8, by path relative to the root.
pub(crate) fn text_files() -> BTreeMap<String, String> {
    // A checkout may belong to another user than the one that runs the tests.
    let git = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files to check: install git");
    assert!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr));
    let listed = String::from_utf8(git.stdout).unwrap();
    let names = listed.split('\0').filter(|name| !name.is_empty());
    // What is listed but removed, or not text, has nothing to check.
    names
        .filter_map(|name| {
            let bytes = std::fs::read(root().join(name)).ok()?;
            Some((name.to_owned(), String::from_utf8(bytes).ok()?))
        })
        .collect()
}

/// The Rust files among `files`, without the fuzz targets, which are a workspace of their own.
pub(crate) fn rust_files(files: BTreeMap<String, String>) -> BTreeMap<String, Source> {
    let ours = |path: &str| path.ends_with(".rs") && !path.split('/').any(|part| part == "fuzz");
    files
        .into_iter()
        .filter(|(path, _)| ours(path))
        .map(|(path, text)| (path.clone(), Source { tokens: tokens(&text), path, text }))
        .collect()
}

impl Source {
    /// The text of the token at `index`, empty beyond either end.
    pub(crate) fn at(&self, index: Option<usize>) -> &str {
        index.and_then(|index| self.tokens.get(index)).map_or("", |token| &token.text)
    }

    /// Index of the token that closes the bracket opened at `open`.
    fn close(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" if depth == 1 => return index,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
        }
        panic!("{}: a bracket is never closed", self.path)
    }

    /// First and last line of each function with a body, and its name.
    pub(crate) fn functions(&self) -> Vec<(usize, usize, &str)> {
        let mut found = Vec::new();
        for index in 0..self.tokens.len() {
            let name = self.at(Some(index + 1));
            let named = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
            if self.at(Some(index)) != "fn" || !named {
                continue;
            }
            // Skip the signature: a `;` inside `[u8; 4]` does not end it.
            let mut next = index + 2;
            while !matches!(self.at(Some(next)), "{" | ";" | "") {
                let bracket = matches!(self.at(Some(next)), "(" | "[");
                next = if bracket { self.close(next) + 1 } else { next + 1 };
            }
            if self.at(Some(next)) == "{" {
                let end = self.close(next);
                found.push((self.tokens[index].line, self.tokens[end].line, name));
            }
        }
        found
    }

    /// Line ranges of the inline `#[cfg(test)] mod … { … }`.
    pub(crate) fn test_modules(&self) -> Vec<(usize, usize)> {
        let modules = self.modules().into_iter();
        modules
            .filter(|module| module.test_only && self.at(Some(module.body)) == "{")
            .map(|module| (self.tokens[module.at].line, self.tokens[self.close(module.body)].line))
            .collect()
    }

    /// Each `mod name` with what follows the name, `{` or `;`.
    fn modules(&self) -> Vec<Module> {
        let mut found = Vec::new();
        // What the attributes since the last item said.
        let (mut test_only, mut path) = (false, None);
        let mut index = 0;
        while index < self.tokens.len() {
            match self.at(Some(index)) {
                "#" if self.at(Some(index + 1)) == "[" => {
                    let end = self.close(index + 1);
                    let words: Vec<&str> =
                        self.tokens[index..end].iter().map(|token| token.text.as_str()).collect();
                    test_only |= words.get(2) == Some(&"cfg")
                        && words.contains(&"test")
                        && !words.contains(&"any")
                        && !words.contains(&"not");
                    if words.get(2) == Some(&"path") {
                        let line = self.text.lines().nth(self.tokens[index].line - 1);
                        path = line.and_then(|line| line.split('"').nth(1)).map(str::to_owned);
                    }
                    index = end;
                }
                "mod" if matches!(self.at(Some(index + 2)), "{" | ";") => {
                    let body = index + 2;
                    found.push(Module { at: index, body, test_only, path: path.take() });
                }
                "pub" | "(" | "crate" | "super" | "in" | ")" => {}
                _ => (test_only, path) = (false, None),
            }
            index += 1;
        }
        found
    }

    /// The files that the `mod name;` in this file mean. A crate's root file keeps its modules
    /// beside itself, any other in a folder of its own name.
    fn declares(&self, crate_root: bool) -> Vec<Declared> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let modules = self.modules();
        let mut found = Vec::new();
        for module in modules.iter().filter(|module| self.at(Some(module.body)) == ";") {
            // The inline modules around this one are folders too.
            let around: Vec<&Module> = modules
                .iter()
                .filter(|outer| self.at(Some(outer.body)) == "{")
                .filter(|outer| outer.at < module.at && module.at < self.close(outer.body))
                .collect();
            let mut inside = if crate_root { folder.to_owned() } else { own.to_owned() };
            for outer in &around {
                inside = format!("{inside}/{}", self.at(Some(outer.at + 1)));
            }
            let file = match &module.path {
                Some(given) if around.is_empty() => format!("{folder}/{given}"),
                Some(given) => format!("{inside}/{given}"),
                None => format!("{inside}/{}.rs", self.at(Some(module.at + 1))),
            };
            let test_only = module.test_only || around.iter().any(|outer| outer.test_only);
            found.push(Declared { file, test_only });
        }
        found
    }
}

/// Where in the tokens a module starts and its `{` or `;` stands.
struct Module {
    at: usize,
    body: usize,
    test_only: bool,
    path: Option<String>,
}

/// The files reachable from `roots` by `mod` declarations, each with whether only tests reach it.
pub(crate) fn reachable(
    sources: &BTreeMap<String, Source>,
    roots: &BTreeSet<String>,
) -> BTreeMap<String, bool> {
    let mut seen = BTreeMap::new();
    let mut todo: Vec<(String, bool)> = roots.iter().map(|root| (root.clone(), false)).collect();
    while let Some((path, test_only)) = todo.pop() {
        let Some(source) = sources.get(&path) else {
            continue;
        };
        // Being reached by production once outweighs being reached by tests.
        if seen.get(&path).is_some_and(|before| !before || test_only) {
            continue;
        }
        for declared in source.declares(roots.contains(&path)) {
            todo.push((declared.file, test_only || declared.test_only));
        }
        seen.insert(path, test_only);
    }
    seen
}

/// Splits Rust code into tokens, leaving out comments and the inside of literals.
fn tokens(text: &str) -> Vec<Token> {
    let code: Vec<char> = text.chars().collect();
    let mut found: Vec<Token> = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < code.len() {
        let rest = &code[index..];
        let word = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        let length = if rest.starts_with(&['/', '/']) {
            rest.iter().take_while(|c| **c != '\n').count()
        } else if rest.starts_with(&['/', '*']) {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if rest[0] == '"' {
            quoted(rest, '"')
        } else if rest[0] == '\'' && (rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'')) {
            quoted(rest, '\'')
        } else if rest[0].is_whitespace() {
            1
        } else {
            let length = if rest.starts_with(&[':', ':']) { 2 } else { word.max(1) };
            found.push(Token { text: rest[..length].iter().collect(), line });
            length
        };
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        index += length;
    }
    found
}

/// Length of the block comment that `rest` starts with; they nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    while index + 1 < rest.len() {
        match [rest[index], rest[index + 1]] {
            ['/', '*'] => depth += 1,
            ['*', '/'] if depth == 1 => return index + 2,
            ['*', '/'] => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
    }
    rest.len()
}

/// Length of the literal that `rest` starts with, backslash escapes included.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut index = 1;
    while index < rest.len() && rest[index] != quote {
        index += if rest[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(rest.len())
}

/// Length of the raw string (`r"…"`, `br#"…"#`) that `rest` starts with, if it does.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|c| matches!(c, 'b' | 'c' | 'r')).count();
    if prefix == 0 || prefix > 2 || rest[prefix - 1] != 'r' {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let body = rest[open + 1..].windows(end.len()).position(|window| window == end)?;
    Some(open + 1 + body + end.len())
}

#[test]
fn comments_and_literals_hide_their_words() {
    let text = "a /* b /* c */ d */ 'x' '\\'' &'l e \"f\\\" g\" r#\"h \" i\"# br\"j\" // k\nm::n";
    let words: Vec<String> = tokens(text).into_iter().map(|token| token.text).collect();
    assert_eq!(words, ["a", "&", "'", "l", "e", "m", "::", "n"]);
    assert_eq!(tokens(text).last().map(|token| token.line), Some(2));
}

#[test]
fn functions_and_test_modules_are_measured() {
    let text = "fn a(x: [u8; 2]) -> u8\nwhere\n    u8: Copy,\n{\n    x[0]\n}\n\
                trait T {\n    fn b(&self);\n}\n\
                #[cfg(test)]\nmod tests {\n    fn c() {}\n}\n#[cfg(not(test))]\nmod d {}\n";
    let (path, text) = ("x.rs".to_owned(), text.to_owned());
    let source = Source { tokens: tokens(&text), path, text };
    assert_eq!(source.functions(), [(1, 6, "a"), (12, 12, "c")]);
    assert_eq!(source.test_modules(), [(11, 13)]);
}

#[test]
fn modules_are_found_where_the_compiler_looks() {
    let text = "mod a;\n#[path = \"x/b.rs\"]\nmod b;\nmod c {\n    #[cfg(test)]\n    mod d;\n}\n";
    let (path, text) = ("p/src/e.rs".to_owned(), text.to_owned());
    let source = Source { tokens: tokens(&text), path, text };
    let files = |crate_root| {
        let declared = source.declares(crate_root).into_iter();
        declared.map(|declared| (declared.file, declared.test_only)).collect::<Vec<_>>()
    };
    let expect = |a: &str, b: &str, d: &str| {
        vec![(a.to_owned(), false), (b.to_owned(), false), (d.to_owned(), true)]
    };
    assert_eq!(files(false), expect("p/src/e/a.rs", "p/src/x/b.rs", "p/src/e/c/d.rs"));
    assert_eq!(files(true), expect("p/src/a.rs", "p/src/x/b.rs", "p/src/c/d.rs"));
}
