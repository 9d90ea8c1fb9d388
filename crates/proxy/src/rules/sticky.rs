//! Session affinity: clients that keep their endpoint.
//!
//! A chain a service port and one an endpoint, with a set of clients for each. The kernel looks through all of these chains
//! when one changes, unlike through the elements of everybody else; they are few.

use knarr_nft::{Contents, Element, Family, Field, Rule, Selector, Set, Value, Verdict};

use super::{MASQUERADE_MARK, ServiceRules, chain_name};
use crate::model::{Endpoint, Frontend, ServicePort};

/// Up to so many endpoints are tried rule by rule. A map picks among any number in one step, but the kernel compares the name
/// of every new anonymous map with those of all others.
const CASCADE_LIMIT: usize = 8;

/// Frontends inside the cluster and outside.
pub fn add(
    rules: &mut ServiceRules,
    (family, id): (Family, &str),
    port: &ServicePort,
    seconds: i32,
    (inside, outside): (Vec<Frontend>, Vec<Frontend>),
) {
    let (prefix, internal) = match port.internal_local {
        true => ("local", &port.local),
        false => ("svc", &port.all),
    };
    if let Some(chain) = balance(rules, (family, prefix, id), port, seconds, internal) {
        let each = inside.into_iter().map(|f| (f, chain.clone()));
        rules.sticky.extend(each);
    }
    if outside.is_empty() {
        return;
    }
    let anywhere = balance(rules, (family, "svc", id), port, seconds, &port.all);
    let goto = |rule: Rule, chain: &String| rule.verdict(Verdict::goto(chain.as_str()));
    let body = if port.external_local {
        // The client's address is kept, so only this node's pods may answer. Clients of the cluster itself may go anywhere.
        let local = balance(rules, (family, "local", id), port, seconds, &port.local);
        let mut body = Vec::new();
        if let Some(chain) = &anywhere {
            let source = Selector::Source(family);
            body.push(goto(Rule::new().within([source], "cluster"), chain));
            let own = Rule::new().local(Selector::SourceKind);
            body.push(goto(own.set_mark(MASQUERADE_MARK), chain));
        }
        // No endpoint here: dropped, so that a load balancer looks elsewhere.
        body.push(match &local {
            Some(chain) => goto(Rule::new(), chain),
            None => Rule::new().drop(),
        });
        body
    } else {
        let Some(chain) = &anywhere else { return };
        let masqueraded = Rule::new().set_mark(MASQUERADE_MARK);
        vec![masqueraded, goto(Rule::new(), chain)]
    };
    let chain = chain_name("ext", id);
    rules.chains.insert(chain.clone(), body);
    let each = outside.into_iter().map(|f| (f, chain.clone()));
    rules.sticky.extend(each);
}

/// A chain that leads to the endpoint a client had before, or else picks one at random. The sets of clients are looked through
/// first.
fn balance(
    rules: &mut ServiceRules,
    (family, prefix, id): (Family, &str, &str),
    port: &ServicePort,
    seconds: i32,
    endpoints: &[Endpoint],
) -> Option<String> {
    if endpoints.is_empty() {
        return None;
    }
    rules.hairpins.extend(endpoints.iter().map(|e| e.address));
    let mut body = Vec::new();
    let mut verdicts = Vec::new();
    for endpoint in endpoints {
        // Names have no colons.
        let address = endpoint.address.to_string().replace(':', "-");
        let target = format!("{id}/{address}/{}", endpoint.port);
        // The timeout is part of the name: a set's timeout cannot be changed.
        let set = chain_name(&format!("clients{seconds}"), &target);
        let chain = chain_name("ep", &target);
        let verdict = Verdict::goto(chain.as_str());
        let known = Rule::new().within([Selector::Source(family)], &set);
        body.push(known.verdict(verdict.clone()));
        verdicts.push(verdict);
        let kept = Rule::new().update(&set, [Selector::Source(family)]);
        let sent = Rule::new()
            .protocol(port.protocol)
            .redirect(endpoint.address, Some(endpoint.port));
        rules.chains.insert(chain, vec![kept, sent]);
        rules.sets.insert(set, seconds);
    }
    body.extend(spread(verdicts));
    let name = chain_name(prefix, id);
    rules.chains.insert(name.clone(), body);
    Some(name)
}

/// One of `verdicts`, each with the same chance.
fn spread(verdicts: Vec<Verdict>) -> Vec<Rule> {
    let count = u32::try_from(verdicts.len()).unwrap_or(u32::MAX);
    if verdicts.len() <= CASCADE_LIMIT {
        let left = (1..=count).rev();
        return left
            .zip(verdicts)
            .map(|(left, verdict)| match left {
                1 => Rule::new().verdict(verdict),
                left => Rule::new().one_in(left).verdict(verdict),
            })
            .collect();
    }
    let elements = (0..count)
        .zip(verdicts)
        .map(|(number, verdict)| Element::new([Value::Number(number)]).verdict(verdict));
    let map = Set::verdicts("", &[Field::Number]);
    let any = Selector::Random {
        modulus: count,
        offset: 0,
    };
    vec![Rule::new().verdicts_of([any], Contents::new(map, elements.collect()))]
}
