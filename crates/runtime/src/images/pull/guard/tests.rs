use super::*;

fn leads(from: &str, to: &str) -> Result<(), String> {
    Guard::new(&Url::parse(from).unwrap()).check(&Url::parse(to).unwrap())
}

#[test]
fn nobody_is_sent_to_what_only_the_node_reaches() {
    for to in [
        "https://127.0.0.1/",
        "https://127.8.8.8:6443/",
        "https://localhost/",
        "https://a.localhost/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "http://elsewhere.example/",
        "ftp://elsewhere.example/",
    ] {
        assert!(leads("https://r.example/v2", to).is_err(), "{to}");
    }
    for to in [
        "https://elsewhere.example/",
        "https://10.0.0.1:5000/",
        "https://[fd00::1]/",
    ] {
        assert_eq!(leads("https://r.example/v2", to), Ok(()), "{to}");
    }
}

#[test]
fn a_registry_of_this_machine_leads_within_it() {
    assert_eq!(
        leads("http://127.0.0.1:5000/v2", "http://localhost:6000/"),
        Ok(())
    );
    assert_eq!(
        leads("http://127.0.0.1:5000/v2", "https://elsewhere.example/"),
        Ok(())
    );
    assert!(leads("http://127.0.0.1:5000/v2", "http://169.254.169.254/").is_err());
}

#[tokio::test]
async fn names_are_judged_by_their_addresses() {
    use std::str::FromStr;
    let guard = |base: &str| Guard::new(&Url::parse(base).unwrap());
    let name = || Name::from_str("localhost").unwrap();
    assert!(guard("https://r.example/v2").resolve(name()).await.is_err());
    assert!(guard("https://localhost/v2").resolve(name()).await.is_ok());
}
