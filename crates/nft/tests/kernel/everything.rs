//! A transaction with everything that the library can say.

use super::*;

/// The fields of a frontend.
pub fn frontend(family: Family) -> [Selector; 3] {
    [
        Selector::Destination(family),
        Selector::Protocol,
        Selector::DestinationPort,
    ]
}

/// What rules and elements of a table with everything are about.
pub struct Everything {
    table: Table,
    field: Field,
    one: IpAddr,
    two: IpAddr,
    three: IpAddr,
    range: (IpAddr, u8),
}

pub const SERVICE: &str = "svc-default/web/tcp/http";

impl Everything {
    pub fn new(family: Family, addresses: [&str; 3], range: (&str, u8)) -> Self {
        let [one, two, three] = addresses.map(address);
        Self {
            table: Table::new(family, "everything"),
            field: family.field(),
            one,
            two,
            three,
            range: (address(range.0), range.1),
        }
    }

    /// A table with every kind of object and statement that nft's language has words for.
    pub fn transaction(&self) -> Transaction {
        let table = &self.table;
        let mut made = Transaction::new();
        made.remove_table(table);
        made.add_table(table, Some("whose it is".to_owned()));
        made.add_chain(table, Chain::new("translate"));
        made.add_chain(table, Chain::new(SERVICE));
        for (name, kind, hook, priority) in [
            ("before", ChainKind::Nat, Hook::Prerouting, -100),
            ("out", ChainKind::Nat, Hook::Output, -100),
            ("after", ChainKind::Nat, Hook::Postrouting, 100),
            ("through", ChainKind::Filter, Hook::Forward, 0),
            ("raw", ChainKind::Filter, Hook::Prerouting, -300),
            ("in", ChainKind::Filter, Hook::Input, 0),
        ] {
            made.add_chain(table, Chain::hooked(name, kind, hook, priority));
        }
        self.sets(&mut made);
        self.elements(&mut made);
        let jump = Rule::new().verdict(Verdict::jump("translate"));
        made.add_rule(table, "before", jump);
        for (chain, rules) in [
            ("translate", self.translations()),
            ("after", self.masquerades()),
            ("through", self.filters()),
        ] {
            for rule in rules {
                made.add_rule(table, chain, rule);
            }
        }
        let lo = Value::Interface("lo".to_owned());
        let rule = Rule::new()
            .differs(Selector::InputInterface, lo)
            .prefix(self.destination(), self.range)
            .drop();
        made.add_rule(table, "raw", rule);
        made
    }

    pub fn source(&self) -> Selector {
        Selector::Source(self.table.family)
    }

    pub fn destination(&self) -> Selector {
        Selector::Destination(self.table.family)
    }

    pub fn sets(&self, made: &mut Transaction) {
        let (table, field) = (&self.table, self.field);
        let key = [field, Field::Protocol, Field::Port];
        let mut clients = Set::new("clients", &[field]);
        clients.lifetime = Some((Duration::from_secs(90), 1000));
        for set in [
            Set::verdicts("services", &key),
            Set::map("targets", &key, &[field, Field::Port]),
            Set::map("marks", &key, &[Field::Mark]),
            Set::new("unserved", &key),
            Set::new("ports", &[Field::Port]),
            Set::new("protocols", &[Field::Protocol]),
            Set::verdicts("by-mark", &[Field::Mark]),
            Set::ranges("cluster", field),
            Set::ranges("blocks", field),
            Set::ranges("port-ranges", Field::Port),
            clients,
        ] {
            made.add_set(table, set);
        }
    }

    pub fn elements(&self, made: &mut Transaction) {
        let of = |address, port| {
            let protocol = Value::Protocol(Protocol::Udp);
            Element::new([Value::Address(address), protocol, Value::Port(port)])
        };
        let target = [Value::Address(self.two), Value::Port(8080)];
        let sctp = Value::Protocol(Protocol::Sctp);
        let marked = Element::new([Value::Mark(7)]);
        for (set, element) in [
            ("services", of(self.one, 53).verdict(Verdict::goto(SERVICE))),
            ("services", of(self.two, 80).verdict(Verdict::Drop)),
            ("targets", of(self.one, 53).to(target)),
            ("marks", of(self.one, 53).to([Value::Mark(10)])),
            ("unserved", of(self.three, 1)),
            ("ports", Element::new([Value::Port(443)])),
            ("protocols", Element::new([sctp])),
            ("by-mark", marked.verdict(Verdict::jump("translate"))),
            ("cluster", Element::range(self.range.0, self.range.1)),
            (
                "blocks",
                Element::between(Value::Address(self.two), Value::Address(self.one)),
            ),
            (
                "port-ranges",
                Element::between(Value::Port(0), Value::Port(0)),
            ),
            (
                "port-ranges",
                Element::between(Value::Port(80), Value::Port(90)),
            ),
            (
                "port-ranges",
                Element::between(Value::Port(60_000), Value::Port(u16::MAX)),
            ),
        ] {
            made.add_elements(&self.table, set, vec![element]);
        }
    }

    pub fn ranges(&self) -> Contents {
        let (address, prefix) = self.range;
        let elements = vec![
            Element::range(address, prefix),
            Element::range(self.three, 32),
        ];
        Contents::new(Set::ranges("", self.field), elements)
    }

    pub fn translations(&self) -> Vec<Rule> {
        let goto = |rule: Rule| rule.verdict(Verdict::goto(SERVICE));
        let family = self.table.family;
        let to = |number| Element::new([Value::Number(number)]);
        let any_of_two = vec![
            to(0).verdict(Verdict::goto(SERVICE)),
            to(1).verdict(Verdict::Accept),
        ];
        let any = Selector::Random {
            modulus: 2,
            offset: 0,
        };
        vec![
            Rule::new()
                .equal(self.destination(), self.one)
                .protocols(&[Protocol::Tcp, Protocol::Udp])
                .equal(Selector::DestinationPort, Value::Port(53))
                .redirect(self.two, None),
            Rule::new()
                .prefix(self.destination(), self.range)
                .outside([self.source()], "cluster")
                .set_mark(0x4000),
            Rule::new().verdicts(frontend(family), "services"),
            goto(Rule::new().local(Selector::DestinationKind)),
            goto(Rule::new().not_local(Selector::SourceKind)),
            goto(Rule::new().within_any([self.source()], self.ranges())),
            Rule::new()
                .protocol(Protocol::Tcp)
                .one_in(3)
                .redirect(self.two, Some(8080)),
            Rule::new()
                .update("clients", [self.source()])
                .protocol(Protocol::Sctp)
                .redirect(self.two, Some(8080)),
            goto(Rule::new().within([self.source()], "clients")),
            Rule::new().verdicts_of(
                [any],
                Contents::new(Set::verdicts("", &[Field::Number]), any_of_two),
            ),
            Rule::new().redirect_by(family, frontend(family), "targets"),
        ]
    }

    pub fn masquerades(&self) -> Vec<Rule> {
        let links = Value::Interface("knarr*".to_owned());
        vec![
            Rule::new().unmarked(0x4000).verdict(Verdict::Return),
            Rule::new().clear_mark(0x4000),
            Rule::new()
                .prefix(self.source(), self.range)
                .outside_any([self.destination()], self.ranges())
                .differs(Selector::OutputInterface, links)
                .masquerade(false),
            Rule::new().masquerade(true),
        ]
    }

    pub fn filters(&self) -> Vec<Rule> {
        let neighbours = Rule::new().neighbour_discovery().verdict(Verdict::Accept);
        let neighbours = Some(neighbours).filter(|_| self.table.family == Family::Ip6);
        let rules = [
            Rule::new()
                .prefix(self.destination(), self.range)
                .protocol(Protocol::Tcp)
                .reject(Reject::Reset),
            Rule::new()
                .within(frontend(self.table.family), "unserved")
                .reject(Reject::Port),
            Rule::new()
                .equal(Selector::Mark, Value::Mark(7))
                .verdict(Verdict::Accept),
            Rule::new().reply().verdict(Verdict::Accept),
            Rule::new().related().verdict(Verdict::Accept),
            Rule::new()
                .within([self.source()], "blocks")
                .protocol(Protocol::Tcp)
                .within([Selector::DestinationPort], "port-ranges")
                .verdict(Verdict::Return),
        ];
        neighbours.into_iter().chain(rules).collect()
    }
}
