//! CoreDNS' configuration, as text: which server blocks it has, and which plugins with which words.
//!
//! ```text
//! example.com:53 {              a block, of the zones that stand before the brace
//!     forward . 10.0.0.1 {      a plugin with its words,
//!         except a.example.com  and a property of it
//!     }
//!     import custom/*.override  the plugins of other files
//! }
//! ```
//!
//! What they mean is for [`crate::settings`] to say. As in Caddy, from which the form is: words end at blanks, quotes keep them
//! together, `#` begins a comment at the beginning of a word, a brace opens at the end of a line and closes on a line of its own.

use std::collections::BTreeMap;

/// What all files together may have; CoreDNS has no limit, an object of the API has 1 MiB.
const MAX_WORDS: usize = 100_000;
/// Files that import files.
const MAX_DEPTH: usize = 8;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Error {
    pub file: String,
    pub line: usize,
    pub what: String,
}

/// Words of one line, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: String,
    pub number: usize,
    pub words: Vec<String>,
}

impl Line {
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error {
            file: self.file.clone(),
            line: self.number,
            what: what.into(),
        }
    }

    /// The first word.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The others.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    pub line: Line,
    /// Its properties.
    pub block: Vec<Line>,
}

/// A server block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its zones.
    pub line: Line,
    pub directives: Vec<Directive>,
}

/// Reads a file with what it imports of `others`, by their names.
pub fn parse(
    file: &str,
    text: &str,
    others: &BTreeMap<String, String>,
) -> Result<Vec<Block>, Error> {
    let mut parser = Parser {
        others,
        words: 0,
        depth: 0,
        blocks: Vec::new(),
    };
    parser.file(file, text)?;
    Ok(parser.blocks)
}

/// A line, and what its last brace does.
struct Read {
    line: Line,
    opens: bool,
    closes: bool,
}

struct Parser<'a> {
    others: &'a BTreeMap<String, String>,
    words: usize,
    depth: usize,
    blocks: Vec<Block>,
}

impl<'a> Parser<'a> {
    fn file(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let mut lines = self.read(file, text)?.into_iter();
        // Zones may stand on several lines, each but the last with a comma at its end.
        let mut zones: Option<Line> = None;
        while let Some(read) = lines.next() {
            let line = read.line;
            if read.closes {
                return Err(line.error("a brace closes nothing"));
            }
            if line.name() == "import" && zones.is_none() && !read.opens {
                if self.depth == MAX_DEPTH {
                    return Err(line.error("files are imported too deep"));
                }
                self.depth = self.depth.saturating_add(1);
                for (name, text) in self.imported(&line)? {
                    self.file(name, text)?;
                }
                self.depth = self.depth.saturating_sub(1);
                continue;
            }
            let goes_on = line.words.last().is_some_and(|word| word.ends_with(','));
            match &mut zones {
                Some(zones) => zones.words.extend(line.words),
                None => zones = Some(line),
            }
            if read.opens {
                let line = zones.take().unwrap_or_else(|| Line {
                    file: file.to_owned(),
                    number: 0,
                    words: Vec::new(),
                });
                let directives = self.directives(&line, &mut lines)?;
                self.blocks.push(Block { line, directives });
            } else if let Some(zones) = &zones
                && !goes_on
            {
                return Err(zones.error("a server block has no braces"));
            }
        }
        match zones {
            Some(zones) => Err(zones.error("a server block has no braces")),
            None => Ok(()),
        }
    }

    /// Up to the brace that closes the block which `head` begins.
    fn directives(
        &mut self,
        head: &Line,
        lines: &mut impl Iterator<Item = Read>,
    ) -> Result<Vec<Directive>, Error> {
        let mut directives = Vec::new();
        while let Some(read) = lines.next() {
            if read.closes {
                return Ok(directives);
            }
            let line = read.line;
            if line.name() == "import" && !read.opens {
                for (name, text) in self.imported(&line)? {
                    let read = self.read(name, text)?;
                    self.included(name, read, &mut directives)?;
                }
                continue;
            }
            let block = match read.opens {
                true => properties(&line, lines)?,
                false => Vec::new(),
            };
            directives.push(Directive { line, block });
        }
        Err(head.error("a block is not closed"))
    }

    /// The plugins of a whole file.
    fn included(
        &mut self,
        file: &str,
        read: Vec<Read>,
        directives: &mut Vec<Directive>,
    ) -> Result<(), Error> {
        let mut lines = read.into_iter();
        while let Some(read) = lines.next() {
            let line = read.line;
            if read.closes {
                return Err(line.error("a brace closes nothing"));
            }
            if line.name() == "import" {
                return Err(line.error(format!("{file} is imported and imports itself")));
            }
            let block = match read.opens {
                true => properties(&line, &mut lines)?,
                false => Vec::new(),
            };
            directives.push(Directive { line, block });
        }
        Ok(())
    }

    /// The files that a pattern names, whatever their directory is: they are keys of one ConfigMap.
    fn imported(&self, line: &Line) -> Result<Vec<(&'a String, &'a String)>, Error> {
        let [pattern] = line.arguments() else {
            return Err(line.error("import takes one file or pattern"));
        };
        let pattern = pattern.rsplit('/').next().unwrap_or(pattern);
        let found: Vec<_> = match pattern.split_once('*') {
            None => self.others.get_key_value(pattern).into_iter().collect(),
            Some((_, end)) if end.contains(['*', '?', '[']) => {
                return Err(line.error("a pattern has one asterisk and no other signs"));
            }
            Some((start, end)) => {
                let fits = |name: &str| {
                    name.strip_prefix(start)
                        .is_some_and(|rest| rest.ends_with(end))
                };
                self.others.iter().filter(|(name, _)| fits(name)).collect()
            }
        };
        if found.is_empty() && !pattern.contains('*') {
            return Err(line.error(format!("there is no file {pattern:?} to import")));
        }
        Ok(found)
    }

    fn read(&mut self, file: &str, text: &str) -> Result<Vec<Read>, Error> {
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let mut line = Line {
                file: file.to_owned(),
                number: index.saturating_add(1),
                words: Vec::new(),
            };
            line.words = words(text).map_err(|what| line.error(what))?;
            self.words = self.words.saturating_add(line.words.len());
            if self.words > MAX_WORDS {
                return Err(line.error(format!("more than {MAX_WORDS} words")));
            }
            let read = match line.words.last().map(String::as_str) {
                None => continue,
                Some("}") if line.words.len() == 1 => Read {
                    line,
                    opens: false,
                    closes: true,
                },
                Some("{") => {
                    line.words.pop();
                    Read {
                        line,
                        opens: true,
                        closes: false,
                    }
                }
                Some(_) => Read {
                    line,
                    opens: false,
                    closes: false,
                },
            };
            if !read.closes
                && let Some(brace) = read.line.words.iter().find(|word| is_brace(word))
            {
                return Err(read
                    .line
                    .error(format!("{brace:?} stands within a line or has no blank")));
            }
            if let Some(word) = read.line.words.iter().find(|word| is_variable(word)) {
                return Err(read.line.error(format!(
                    "{word:?} names a variable of the environment, and there is none"
                )));
            }
            lines.push(read);
        }
        Ok(lines)
    }
}

/// Up to the brace that closes a plugin's properties.
fn properties(head: &Line, lines: &mut impl Iterator<Item = Read>) -> Result<Vec<Line>, Error> {
    let mut block = Vec::new();
    for read in lines {
        if read.opens {
            return Err(read.line.error("a property has no block of its own"));
        }
        if read.closes {
            return Ok(block);
        }
        block.push(read.line);
    }
    Err(head.error("a block is not closed"))
}

fn is_brace(word: &str) -> bool {
    word == "{" || word == "}"
}

fn is_variable(word: &str) -> bool {
    word.contains("{$") || word.contains("{%")
}

/// The words of a line.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut word = String::new();
        match chars.next() {
            None | Some('#') => return Ok(words),
            Some('"') => loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') if chars.peek() == Some(&'"') => word.extend(chars.next()),
                    Some(c) => word.push(c),
                    None => return Err("a quote is not closed on its line"),
                }
            },
            Some(first) => {
                word.push(first);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                    word.push(c);
                }
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests;
