use std::io;

/// Why a transaction was not applied; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot talk to nf_tables over netlink (has the kernel nf_tables, and may this process administer the network?)"
    )]
    Socket(#[source] io::Error),
    #[error(
        "a transaction of {bytes} bytes is more than the kernel takes at once from this process"
    )]
    TooLarge { bytes: usize },
    /// Somebody else was first; see [`crate::Connection::commit`].
    #[error("the ruleset has been changed by another program")]
    Changed,
    /// In words of nft's language, what the kernel did not like.
    #[error("the kernel refused to {what}: {reason}")]
    Refused { what: String, reason: String },
    #[error("the kernel did not say whether it has taken the transaction")]
    NoAnswer,
}

impl Error {
    pub(crate) fn refused(what: String, errno: i32, hint: Option<&str>) -> Self {
        let mut reason = io::Error::from_raw_os_error(errno).to_string();
        if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
            reason = format!("{reason}: {hint}");
        }
        Self::Refused { what, reason }
    }
}
