//! Tokens of a file: `token,user,uid,"group1,group2"` a line, as upstream's `--token-auth-file`.

use std::{collections::HashMap, path::Path};

use knarr_auth::UserInfo;
use knarr_config::ConfigFile;
use ring::digest;

use crate::Error;

const FILE_BYTES: u64 = 16 << 20;

/// Users by hash of their token, so that looking one up tells nothing of the others by the time it takes.
#[derive(Debug)]
pub struct TokenFile(HashMap<Vec<u8>, UserInfo>);

impl TokenFile {
    /// # Errors
    /// Where the file cannot be read, or a line has fewer than three columns.
    pub fn read(path: &Path) -> Result<TokenFile, Error> {
        Ok(ConfigFile::new(path, FILE_BYTES).parse_text(TokenFile::parse)?)
    }

    fn parse(text: &str) -> Result<TokenFile, String> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let columns = columns(line);
            let [token, name, uid, rest @ ..] = &columns[..] else {
                let found = columns.len();
                return Err(format!(
                    "token file must have at least 3 columns (token, user name, user uid), found {found}"
                ));
            };
            if token.is_empty() {
                let number = at.saturating_add(1);
                tracing::warn!(line = number, "a line of the token file has no token");
                continue;
            }
            let groups = rest.first().map_or("", String::as_str).split(',');
            let groups = groups.map(str::trim).filter(|group| !group.is_empty());
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.map(str::to_owned).collect(),
                ..UserInfo::default()
            };
            users.insert(hash(token), user);
        }
        Ok(TokenFile(users))
    }

    pub fn user(&self, token: &str) -> Option<UserInfo> {
        self.0.get(&hash(token)).cloned()
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .to_vec()
}

/// The columns of a line of CSV: one in quotes may have commas, and quotes that are doubled.
fn columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        let Some(column) = columns.last_mut() else {
            break;
        };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c if column.is_empty() && !quoted && c.is_whitespace() => {}
            c => column.push(c),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_user() {
        let file = TokenFile::parse("# people\n\nabc,jane,1,\"dev, ops\"\nde,jim,2\n,nobody,3\n");
        let file = file.expect("a file");
        let jane = file.user("abc").expect("a user");
        assert_eq!((&*jane.name, &*jane.uid), ("jane", "1"));
        assert_eq!(jane.groups, ["dev", "ops"]);
        assert_eq!(file.user("de").map(|jim| jim.name), Some("jim".to_owned()));
        assert_eq!(file.user("d"), None);
        assert_eq!(file.user(""), None);
        let error = TokenFile::parse("abc,jane").expect_err("a column is missing");
        assert!(error.contains("found 2"), "{error}");
    }

    #[test]
    fn quotes_hold_commas_and_quotes() {
        assert_eq!(columns(r#"a,"b,""c""",d"#), ["a", "b,\"c\"", "d"]);
    }
}
