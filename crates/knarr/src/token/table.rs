//! Tokens as a table.

use jiff::Timestamp;
use knarr_auth::bootstrap_token::TokenSecret;

use crate::text;

const HEAD: [&str; 6] = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "GROUPS"];
/// A line for each, under a head.
pub fn table(tokens: &[TokenSecret], now: Timestamp) -> String {
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(tokens.iter().map(|token| row(token, now)));
    text::table(&rows)
}

fn row(token: &TokenSecret, now: Timestamp) -> [String; 6] {
    let or_none = |text: String| {
        if text.is_empty() {
            "<none>".to_owned()
        } else {
            text
        }
    };
    let usages: Vec<&str> = token.usages.iter().map(|usage| usage.name()).collect();
    let (ttl, expires) = match token.expires {
        None => ("<forever>".to_owned(), "<never>".to_owned()),
        Some(_) if token.has_expired(now) => ("<expired>".to_owned(), shown(token.expires)),
        Some(end) => (
            text::duration(now.duration_until(end)),
            shown(token.expires),
        ),
    };
    [
        token.token.id().to_owned(),
        ttl,
        expires,
        or_none(usages.join(",")),
        or_none(token.description.replace(char::is_control, " ")),
        or_none(token.extra_groups.join(",")),
    ]
}

fn shown(time: Option<Timestamp>) -> String {
    let time = time.filter(|time| *time > Timestamp::MIN);
    time.map_or_else(
        || "<unreadable>".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use knarr_auth::bootstrap_token::{BootstrapToken, Usage};

    use super::*;

    #[test]
    fn tokens_are_listed_without_their_secrets() {
        let token = |id: &str, expires: Option<&str>, usages: &[Usage], text: &str| TokenSecret {
            token: BootstrapToken::new(id, "0123456789abcdef").expect("a token"),
            expires: expires.map(|time| time.parse().unwrap_or(Timestamp::MIN)),
            usages: usages.to_vec(),
            extra_groups: Vec::new(),
            description: text.to_owned(),
        };
        let both = [Usage::Authentication, Usage::Signing];
        let now = "2030-01-01T00:00:00Z".parse().expect("a time");
        let tokens = [
            token("aaaaaa", Some("2030-01-01T23:59:30Z"), &both, "a rack"),
            token(
                "bbbbbb",
                Some("2030-03-01T05:00:00Z"),
                &both[..1],
                "two\nlines",
            ),
            token("cccccc", Some("2030-01-01T00:00:09Z"), &[], ""),
            token("dddddd", Some("2029-12-31T00:00:00Z"), &both, ""),
            token("eeeeee", None, &both, ""),
            token("ffffff", Some("x"), &both, ""),
        ];
        expect![[r"
            TOKEN    TTL         EXPIRES                USAGES                   DESCRIPTION   GROUPS
            aaaaaa   23h59m      2030-01-01T23:59:30Z   authentication,signing   a rack        <none>
            bbbbbb   59d5h       2030-03-01T05:00:00Z   authentication           two lines     <none>
            cccccc   9s          2030-01-01T00:00:09Z   <none>                   <none>        <none>
            dddddd   <expired>   2029-12-31T00:00:00Z   authentication,signing   <none>        <none>
            eeeeee   <forever>   <never>                authentication,signing   <none>        <none>
            ffffff   <expired>   <unreadable>           authentication,signing   <none>        <none>
        "]]
        .assert_eq(&table(&tokens, now));
    }
}
