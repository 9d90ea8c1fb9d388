//! The Secret of a token, in the form of upstream's `k8s.io/cluster-bootstrap`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{BootstrapToken, GROUP, SECRET_TYPE, id_of_secret};

const ID: &str = "token-id";
const SECRET: &str = "token-secret";
const EXPIRATION: &str = "expiration";
const DESCRIPTION: &str = "description";
const EXTRA_GROUPS: &str = "auth-extra-groups";
/// What may be used is said by "true", nothing else.
const YES: &str = "true";

/// Groups that a token may give its user beside [`GROUP`] begin so.
pub const GROUPS_PREFIX: &str = "system:bootstrappers:";
const GROUP_MAX: usize = 256;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// As a bearer token.
    Authentication,
    /// To sign what is public of the cluster.
    Signing,
}

impl Usage {
    /// The key in the Secret.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Usage::Authentication => "usage-bootstrap-authentication",
            Usage::Signing => "usage-bootstrap-signing",
        }
    }

    /// As upstream's tools show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Usage::Authentication => "authentication",
            Usage::Signing => "signing",
        }
    }
}

/// A token's Secret, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSecret {
    pub token: BootstrapToken,
    /// `None`: never.
    pub expires: Option<Timestamp>,
    pub usages: Vec<Usage>,
    /// As they stand there, [`TokenSecret::groups`] judges them.
    pub extra_groups: Vec<String>,
    pub description: String,
}

/// When a Secret with these values ends; `None` for ever. A time that cannot be read has passed.
#[must_use]
pub fn expiry<'d>(data: impl Fn(&str) -> Option<&'d [u8]>) -> Option<Timestamp> {
    let value = data(EXPIRATION).filter(|value| !value.is_empty())?;
    let text = std::str::from_utf8(value).ok();
    let time = text.and_then(|text| text.parse().ok());
    Some(time.unwrap_or(Timestamp::MIN))
}

impl TokenSecret {
    /// Reads a Secret of this type and name whose values are what `data` gives for their keys. `None` where it holds no token: the
    /// type, the name or the form is another one's. What expires at a time that cannot be read has expired.
    #[must_use]
    pub fn read<'d>(
        type_: &str,
        name: &str,
        data: impl Fn(&str) -> Option<&'d [u8]>,
    ) -> Option<TokenSecret> {
        let text = |key: &str| data(key).and_then(|value| std::str::from_utf8(value).ok());
        if type_ != SECRET_TYPE || text(ID)? != id_of_secret(name)? {
            return None;
        }
        let usages = [Usage::Authentication, Usage::Signing]
            .into_iter()
            .filter(|usage| text(usage.key()) == Some(YES));
        let groups = text(EXTRA_GROUPS).unwrap_or_default().split(',');
        Some(TokenSecret {
            token: BootstrapToken::new(text(ID)?, text(SECRET)?).ok()?,
            expires: expiry(&data),
            usages: usages.collect(),
            extra_groups: groups
                .filter(|group| !group.is_empty())
                .map(String::from)
                .collect(),
            description: text(DESCRIPTION).unwrap_or_default().to_owned(),
        })
    }

    /// The values of a Secret for this token.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::from([
            (ID.to_owned(), self.token.id().to_owned()),
            (SECRET.to_owned(), self.token.secret().to_owned()),
        ]);
        for usage in &self.usages {
            data.insert(usage.key().to_owned(), YES.to_owned());
        }
        for (key, value) in [
            (
                EXPIRATION,
                self.expires.map(knarr_meta::time::format_seconds),
            ),
            (EXTRA_GROUPS, Some(self.extra_groups.join(","))),
            (DESCRIPTION, Some(self.description.clone())),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                data.insert(key.to_owned(), value);
            }
        }
        data
    }

    /// Whether the token is good for this now.
    #[must_use]
    pub fn is_for(&self, usage: Usage, now: Timestamp) -> bool {
        self.usages.contains(&usage) && !self.has_expired(now)
    }

    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// The groups of its user, sorted. `None` where one of them is none that a token may give.
    #[must_use]
    pub fn groups(&self) -> Option<Vec<String>> {
        let mut groups = vec![GROUP.to_owned()];
        for group in &self.extra_groups {
            if !may_give(group) {
                return None;
            }
            groups.push(group.clone());
        }
        groups.sort();
        groups.dedup();
        Some(groups)
    }
}

/// Upstream's `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`.
fn may_give(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUPS_PREFIX) else {
        return false;
    };
    let letter = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    rest.len() <= GROUP_MAX
        && rest
            .bytes()
            .all(|byte| letter(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(letter)
}
