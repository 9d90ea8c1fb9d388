//! The kernel has the last word, and the program nft says what it has understood.

mod everything;

use std::{
    io::Write,
    net::IpAddr,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use self::everything::{Everything, frontend};
use knarr_nft::{
    Chain, ChainKind, Connection, Contents, Element, Error, Family, Field, Hook, Monitor, Protocol,
    Reject, Rule, Selector, Set, Table, Transaction, Value, Verdict, Watched,
};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

const SOON: Duration = Duration::from_secs(20);

/// Runs `work` in a network namespace that ends with it; says so where that is not allowed.
fn in_namespace(work: impl FnOnce() + Send) {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            work();
        });
        there.join().unwrap();
    });
}

/// Runs nft with a script on its standard input.
fn nft(arguments: &[&str], script: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && errors.is_empty(),
        "{errors}\n{script}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn listing() -> String {
    nft(&["list", "ruleset"], "")
}

fn commit(transaction: &Transaction) -> Result<(), Error> {
    Connection::open()?.commit(transaction, None)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What the kernel has after a transaction, and after nft has read the same as text.
fn both(transaction: &Transaction) -> (String, String) {
    commit(transaction).unwrap();
    let ours = listing();
    nft(&["flush", "ruleset"], "");
    nft(&["-f", "-"], &transaction.to_string());
    let nfts = listing();
    nft(&["flush", "ruleset"], "");
    (ours, nfts)
}

#[test]
fn netlink_and_nft_make_the_same_of_a_transaction() {
    in_namespace(|| {
        let of_ip = Everything::new(
            Family::Ip,
            ["10.43.0.1", "10.42.0.2", "198.51.100.7"],
            ("10.43.0.0", 16),
        );
        let of_ip6 = Everything::new(
            Family::Ip6,
            ["fd00:43::1", "fd00:42::2", "2001:db8::"],
            ("fd00:43::", 108),
        );
        for everything in [of_ip, of_ip6] {
            let transaction = everything.transaction();
            let (ours, nfts) = both(&transaction);
            assert!(ours.contains("comment \"whose it is\""), "{ours}");
            assert_eq!(ours, nfts, "{transaction}");
        }
    });
}

fn small(name: &str) -> (Table, Transaction) {
    let table = Table::new(Family::Ip, name);
    let mut made = Transaction::new();
    made.add_table(&table, None);
    let key = [Field::Ipv4, Field::Protocol, Field::Port, Field::Mark];
    made.add_set(
        &table,
        Set::map("targets", &key, &[Field::Ipv4, Field::Port]),
    );
    made.add_chain(&table, Chain::new("to"));
    (table, made)
}

/// Of one of many addresses.
fn target(number: u32) -> Element {
    let key = [
        Value::Address(IpAddr::from((0x0a2b_0000 + number / 10).to_be_bytes())),
        Value::Protocol(Protocol::Tcp),
        Value::Port(80),
        Value::Mark(number % 10),
    ];
    let target = IpAddr::from((0x0a2a_0000 + number).to_be_bytes());
    Element::new(key).to([Value::Address(target), Value::Port(8080)])
}

/// The kernel takes a random number in a key; nft has no words for it, but can list it.
#[test]
fn random_numbers_are_part_of_keys() {
    in_namespace(|| {
        let (table, mut made) = small("t");
        let mut key = frontend(Family::Ip).to_vec();
        key.push(Selector::Random {
            modulus: 3,
            offset: 65536,
        });
        let rule = Rule::new().redirect_by(Family::Ip, key, "targets");
        made.add_rule(&table, "to", rule);
        commit(&made).unwrap();
        let wanted = "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 offset 65536 map @targets";
        let listing = listing();
        assert!(listing.contains(wanted), "{listing}");
    });
}

#[test]
fn errors_name_what_the_kernel_did_not_like() {
    in_namespace(|| {
        let (table, made) = small("t");
        commit(&made).unwrap();
        let refused = |change: &dyn Fn(&mut Transaction)| {
            let mut transaction = Transaction::new();
            transaction.add_chain(&table, Chain::new("never"));
            change(&mut transaction);
            let error = commit(&transaction).unwrap_err().to_string();
            assert!(!listing().contains("never"), "half a transaction: {error}");
            error
        };
        let error =
            refused(&|t| t.delete_elements(&table, "targets", (0..9).map(target).collect()));
        assert_eq!(
            error,
            "the kernel refused to delete element ip t targets { 10.43.0.0 . tcp . 80 . 0x0 : 10.42.0.0 . 8080 }: \
             No such file or directory (os error 2)"
        );
        let mut one = Transaction::new();
        one.add_elements(&table, "targets", vec![target(5)]);
        commit(&one).unwrap();
        // Too many for one message; another value for one in the midst of them.
        let mut many: Vec<_> = (1000..4000).map(target).collect();
        many[2345] = target(5).to([Value::Address(address("10.42.9.9")), Value::Port(1)]);
        let error = refused(&|t| t.add_elements(&table, "targets", many.clone()));
        assert!(
            error.contains("add element ip t targets { 10.43.0.0 . tcp . 80 . 0x5 : 10.42.9.9 . 1 }: File exists"),
            "{error}"
        );
        let error = refused(&|t| {
            t.add_rule(&table, "to", Rule::new().verdict(Verdict::goto("nowhere")));
        });
        assert!(
            error.contains("refused to add rule ip t to goto nowhere: No such file"),
            "{error}"
        );
        let error = refused(&|t| t.delete_chain(&Table::new(Family::Ip, "other"), "to"));
        assert!(
            error.contains("delete chain ip other to: No such file"),
            "{error}"
        );
        // A loop is found when all of it is there.
        let error = refused(&|t| {
            t.add_chain(
                &table,
                Chain::hooked("out", ChainKind::Filter, Hook::Output, 0),
            );
            t.add_rule(&table, "out", Rule::new().verdict(Verdict::jump("to")));
            t.add_rule(&table, "to", Rule::new().verdict(Verdict::jump("to")));
        });
        assert!(error.contains("Too many l"), "{error}");
    });
}

#[test]
fn generations_tell_of_changes_by_others() {
    in_namespace(|| {
        let mut connection = Connection::open().unwrap();
        let (table, made) = small("t");
        let mut generation = connection.generation().unwrap();
        for _ in 0..2 {
            connection.commit(&made, Some(generation)).unwrap();
            generation += 1;
            assert_eq!(connection.generation().unwrap(), generation);
        }
        nft(&["add", "table", "ip", "other"], "");
        let refused = connection.commit(&made, Some(generation));
        assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
        connection.commit(&made, None).unwrap();
        assert_eq!(connection.comment(&table).unwrap(), None);
        nft(&["delete", "table", "ip", "t"], "");
        nft(
            &["add", "table", "ip", "t", "{", "comment", "\"/a b\";", "}"],
            "",
        );
        assert_eq!(connection.comment(&table).unwrap().as_deref(), Some("/a b"));
        let absent = Table::new(Family::Ip6, "t");
        assert_eq!(connection.comment(&absent).unwrap(), None);
    });
}

#[test]
fn a_hundred_thousand_elements_are_one_transaction() {
    const COUNT: u32 = 100_000;
    in_namespace(|| {
        let (table, mut made) = small("t");
        made.add_elements(&table, "targets", (0..COUNT).map(target).collect());
        commit(&made).unwrap();
        assert_eq!(listing().matches(" : 10.4").count(), COUNT as usize);
        let mut gone = Transaction::new();
        gone.delete_elements(&table, "targets", (0..COUNT).map(target).collect());
        commit(&gone).unwrap();
        assert_eq!(listing().matches(" : 10.4").count(), 0);
    });
}

#[test]
fn a_monitor_tells_of_others_only() {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (table, made) = small("t");
            let mut own = Connection::open().unwrap();
            let mut monitor = Monitor::open().unwrap();
            let tables = [table.clone()];
            own.commit(&made, None).unwrap();
            // Neither ours nor of other tables.
            for line in [
                "add table ip other",
                "add table ip6 t",
                "delete table ip other",
            ] {
                nft(&line.split(' ').collect::<Vec<_>>(), "");
            }
            let quiet = Duration::from_millis(200);
            let waiting = monitor.changed(&tables, Watched::Everything);
            assert!(tokio::time::timeout(quiet, waiting).await.is_err());
            for line in ["add chain ip t c", "flush chain ip t c", "flush ruleset"] {
                // An event each: whatever is left of the one before is not the one that is waited for.
                let mut fresh = Monitor::open().unwrap();
                nft(&line.split(' ').collect::<Vec<_>>(), "");
                if line.starts_with("flush chain") {
                    // There was no rule in it.
                    continue;
                }
                let waiting = fresh.changed(&tables, Watched::Everything);
                tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
            }
            // However much this process changes: it is neither told nor in the way of what others do.
            let mut fresh = Monitor::open().unwrap();
            let mut much = made.clone();
            much.add_elements(&table, "targets", (0..200_000).map(target).collect());
            own.commit(&much, None).unwrap();
            Connection::open().unwrap().commit(&much, None).unwrap();
            let waiting = fresh.changed(&tables, Watched::Everything);
            assert!(tokio::time::timeout(quiet, waiting).await.is_err());
            // Sets may be for others to fill.
            let more = [
                "add set ip t more { type ipv4_addr; }",
                "add element ip t more { 10.5.0.1 }",
                "delete element ip t more { 10.5.0.1 }",
            ];
            for line in more {
                nft(&["-f", "-"], line);
            }
            let waiting = fresh.changed(&tables, Watched::Rules);
            assert!(tokio::time::timeout(quiet, waiting).await.is_err());
            nft(&["flush", "ruleset"], "");
            tokio::time::timeout(SOON, fresh.changed(&tables, Watched::Rules))
                .await
                .unwrap()
                .unwrap();
        });
    });
}

/// What rules have put into a set is there for who makes the set anew, with the time that is left.
#[test]
fn members_of_a_set_have_the_time_that_they_had() {
    in_namespace(|| {
        for (family, names) in [
            (Family::Ip, ["10.42.0.2", "10.42.0.3"]),
            (Family::Ip6, ["fd00:42::2", "fd00:42::3"]),
        ] {
            let table = Table::new(family, "t");
            let mut clients = Set::new("clients", &[family.field()]);
            let lifetime = Duration::from_secs(90);
            clients.lifetime = Some((lifetime, 1000));
            let whole = || {
                let mut made = Transaction::new();
                made.remove_table(&table);
                made.add_table(&table, None);
                made.add_set(&table, clients.clone());
                made
            };
            let [young, old] =
                names.map(|name| (address(name), Element::new([address(name).into()])));
            let left = Duration::from_secs(40);
            let mut connection = Connection::open().unwrap();
            assert_eq!(connection.members(&table, "clients", 9).unwrap(), []);
            let mut made = whole();
            made.add_elements(&table, "clients", vec![young.1, old.1.expires(left)]);
            connection.commit(&made, None).unwrap();
            for _ in 0..2 {
                let mut members = connection.members(&table, "clients", 9).unwrap();
                members.sort();
                let is_within = |(_, left): &(IpAddr, Duration), most: Duration| {
                    *left <= most && *left + SOON > most
                };
                assert_eq!(members.len(), 2);
                assert_eq!((members[0].0, members[1].0), (young.0, old.0));
                assert!(is_within(&members[0], lifetime), "{members:?}");
                assert!(is_within(&members[1], left), "{members:?}");
                let mut anew = whole();
                let kept = members.into_iter();
                let kept = kept.map(|(client, left)| Element::new([client.into()]).expires(left));
                anew.add_elements(&table, "clients", kept.collect());
                connection.commit(&anew, None).unwrap();
            }
            assert_eq!(connection.members(&table, "clients", 1).unwrap().len(), 1);
            assert_eq!(connection.members(&table, "others", 9).unwrap(), []);
        }
    });
}

#[test]
fn rules_in_chains_of_others_are_known_by_their_comments() {
    in_namespace(|| {
        let table = Table::new(Family::Ip, "filter");
        nft(
            &["-f", "-"],
            "add table ip filter
             add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
             add chain ip filter own
             add rule ip filter FORWARD counter jump own comment \"theirs\"
             add rule ip filter own accept",
        );
        let mut connection = Connection::open().unwrap();
        let chains = connection.chains(Family::Ip).unwrap();
        let known: Vec<_> = chains
            .iter()
            .map(|chain| (&*chain.table.name, &*chain.name, chain.hook))
            .collect();
        assert_eq!(
            known,
            [
                ("filter", "FORWARD", Some(Hook::Forward)),
                ("filter", "own", None)
            ]
        );
        assert_eq!(connection.chains(Family::Ip6).unwrap(), []);

        let mut made = Transaction::new();
        for (name, range) in [("one", ("10.1.0.0", 16)), ("two", ("10.2.0.0", 15))] {
            let rule =
                Rule::new().prefix(Selector::Source(Family::Ip), (address(range.0), range.1));
            made.insert_rule(&table, "FORWARD", rule.verdict(Verdict::Accept), name);
        }
        connection.commit(&made, None).unwrap();
        let comments = |connection: &mut Connection| -> Vec<_> {
            let rules = connection.rules(&table, "FORWARD").unwrap();
            rules
                .into_iter()
                .map(|rule| rule.comment.unwrap())
                .collect()
        };
        assert_eq!(comments(&mut connection), ["two", "one", "theirs"]);
        assert!(listing().contains("ip saddr 10.1.0.0/16 accept comment \"one\""));

        let rules = connection.rules(&table, "FORWARD").unwrap();
        let mut gone = Transaction::new();
        gone.delete_rule(&table, "FORWARD", rules[1].handle);
        connection.commit(&gone, None).unwrap();
        assert_eq!(comments(&mut connection), ["two", "theirs"]);
        assert!(connection.commit(&gone, None).is_err(), "it has gone");
        assert_eq!(connection.rules(&table, "none").unwrap(), []);
        let many: Transaction = (0..2000).fold(Transaction::new(), |mut made, number| {
            let rule = Rule::new().verdict(Verdict::Return);
            made.insert_rule(&table, "own", rule, format!("rule {number}"));
            made
        });
        connection.commit(&many, None).unwrap();
        assert_eq!(connection.rules(&table, "own").unwrap().len(), 2001);
    });
}
