use super::{Accounts, User, UserError};

fn accounts() -> Accounts {
    Accounts {
        passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\nbroken\n".to_owned(),
        group: "root:x:0:\nweb:x:34:\nadm:x:4:web,other\nlog:x:5:web\n".to_owned(),
    }
}

fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> Result<User, UserError> {
    Ok(User {
        uid,
        gid,
        groups: groups.to_vec(),
        home: home.to_owned(),
    })
}

#[test]
fn users_are_resolved_as_the_image_says() {
    let accounts = accounts();
    assert_eq!(accounts.resolve(""), user(0, 0, &[], "/root"));
    assert_eq!(accounts.resolve("web"), user(33, 34, &[4, 5], "/srv"));
    assert_eq!(accounts.resolve("33"), user(33, 34, &[4, 5], "/srv"));
    assert_eq!(accounts.resolve("web:adm"), user(33, 4, &[4, 5], "/srv"));
    assert_eq!(accounts.resolve("1000"), user(1_000, 0, &[], ""));
    assert_eq!(accounts.resolve("1000:2000"), user(1_000, 2_000, &[], ""));
    assert_eq!(
        accounts.resolve("nobody"),
        Err(UserError::NoUser("nobody".to_owned()))
    );
    assert_eq!(
        accounts.resolve("web:none"),
        Err(UserError::NoGroup("none".to_owned()))
    );
}

#[test]
fn an_image_without_accounts_has_numbers_only() {
    let empty = Accounts::default();
    assert_eq!(empty.resolve("0"), user(0, 0, &[], ""));
    assert!(empty.resolve("root").is_err());
}
