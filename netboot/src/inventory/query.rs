//! Which machines somebody asks for: Sabakan's query, of which each key can be negated with `without-` in front of it.
//!
//! Several values of one key (with commas between them) mean any of them, several labels all of them, several keys all of them.

use super::machine::Machine;
use super::state::State;
use crate::error::Refusal;
use crate::ipam::RACK_NUMBER_MAX;
use jiff::Timestamp;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Values of one query: enough for a rack of serial numbers, and little to look through for each machine.
pub const VALUES_MAX: usize = 256;

/// Conditions on machines; a machine is meant when all of them hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Serial(Vec<String>),
    Name(Vec<String>),
    Labels(Vec<(String, String)>),
    Rack(Vec<u32>),
    Role(Vec<String>),
    Ipv4(Vec<Ipv4Addr>),
    Ipv6(Vec<Ipv6Addr>),
    BmcType(Vec<String>),
    State(Vec<State>),
    Mac(Vec<String>),
    DaysLeft { least: i64, now: Timestamp },
}

/// Conditions as Sabakan's GraphQL writes them: of each list any value, but all labels; an empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Labels with their values.
    pub labels: Vec<(String, String)>,
    /// Racks.
    pub racks: Vec<u32>,
    /// Roles.
    pub roles: Vec<String>,
    /// States.
    pub states: Vec<State>,
    /// At least so many whole days until the machine leaves, from a time on; none are left of one that has no date.
    pub days_left: Option<(i64, Timestamp)>,
}

/// Keys of a query, each also with `without-`.
pub const KEYS: [&str; 10] = ["serial", "name", "labels", "rack", "role", "ipv4", "ipv6", "bmc-type", "state", "mac"];

impl Query {
    /// Reads the pairs of a URL's query.
    ///
    /// # Errors
    /// When a key is unknown, or a value is none of its kind.
    pub fn read<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let mut count = 0;
        for (key, value) in pairs {
            let (negated, name) = key.strip_prefix("without-").map_or((false, key), |name| (true, name));
            let values: Vec<&str> = value.split(',').filter(|value| !value.is_empty()).collect();
            count += values.len();
            if count > VALUES_MAX {
                let message = format!("{count} values in one query");
                return Err(
                    Refusal::invalid(key, message, format!("at most {VALUES_MAX}")).of(crate::error::Kind::TooMuch)
                );
            }
            if values.is_empty() {
                return Err(Refusal::invalid(key, "has no value", format!("write {key}=VALUE, or leave it out")));
            }
            query.terms.push(Term { negated, what: what(key, name, &values)? });
        }
        Ok(query)
    }

    /// Adds conditions, or that none of them holds; of labels any one then excludes a machine.
    ///
    /// # Errors
    /// When the query has more than [`VALUES_MAX`] values.
    pub fn add(&mut self, wanted: Wanted, negated: bool) -> Result<(), Refusal> {
        let Wanted { labels, racks, roles, states, days_left } = wanted;
        let count = labels.len() + racks.len() + roles.len() + states.len();
        if count > VALUES_MAX {
            let refusal = Refusal::invalid("", format!("{count} values in one query"), format!("at most {VALUES_MAX}"));
            return Err(refusal.of(crate::error::Kind::TooMuch));
        }
        let labels = labels.into_iter().map(|label| What::Labels(vec![label]));
        let racks = (!racks.is_empty()).then_some(What::Rack(racks));
        let roles = (!roles.is_empty()).then_some(What::Role(roles));
        let states = (!states.is_empty()).then_some(What::State(states));
        let days = days_left.map(|(least, now)| What::DaysLeft { least, now });
        let all = labels.chain(racks).chain(roles).chain(states).chain(days);
        self.terms.extend(all.map(|what| Term { negated, what }));
        Ok(())
    }

    /// The serial numbers asked for, when no other machine can be meant: they are looked up instead of searched.
    #[must_use]
    pub fn serials(&self) -> Option<&[String]> {
        self.terms.iter().filter(|term| !term.negated).find_map(|term| {
            let What::Serial(serials) = &term.what else { return None };
            Some(serials.as_slice())
        })
    }

    /// Whether a machine is meant.
    #[must_use]
    pub fn matches(&self, machine: &Machine) -> bool {
        self.terms.iter().all(|term| term.what.holds(machine) != term.negated)
    }
}

fn what(key: &str, name: &str, values: &[&str]) -> Result<What, Refusal> {
    let words = || values.iter().map(|value| (*value).to_owned()).collect();
    Ok(match name {
        "serial" => What::Serial(words()),
        "name" => What::Name(words()),
        "role" => What::Role(words()),
        "bmc-type" => What::BmcType(words()),
        "mac" => What::Mac(values.iter().map(|value| value.to_ascii_lowercase().replace('-', ":")).collect()),
        "rack" => What::Rack(parsed(key, values, &format!("a number from 0 to {RACK_NUMBER_MAX}"))?),
        "ipv4" => What::Ipv4(parsed(key, values, "an address, as 10.69.0.4")?),
        "ipv6" => What::Ipv6(parsed(key, values, "an address, as fd00::4")?),
        "state" => {
            let states: Result<Vec<State>, Refusal> = values.iter().map(|value| value.parse()).collect();
            What::State(states.map_err(|refusal| Refusal { field: key.to_owned(), ..refusal })?)
        }
        "labels" => {
            let pairs = values.iter().map(|value| {
                value.split_once('=').map(|(label, value)| (label.trim().to_owned(), value.trim().to_owned()))
            });
            let pairs: Option<Vec<_>> = pairs.collect();
            What::Labels(pairs.ok_or_else(|| {
                let message = format!("`{}` is no label with a value", values.join(","));
                Refusal::invalid(key, message, "write labels=LABEL=VALUE,LABEL=VALUE")
            })?)
        }
        _ => {
            let likely = KEYS.iter().max_by(|a, b| likeness(name, a).total_cmp(&likeness(name, b)));
            let rule = match likely.filter(|likely| likeness(name, likely) >= 0.8) {
                Some(likely) => format!("did you mean `{likely}`?"),
                None => format!("write one of {}, or `without-` before one", KEYS.join(", ")),
            };
            return Err(Refusal::invalid(key, format!("`{key}` is no key of a query"), rule));
        }
    })
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

fn parsed<T: FromStr>(key: &str, values: &[&str], rule: &str) -> Result<Vec<T>, Refusal> {
    let read = |value: &&str| value.parse().map_err(|_| Refusal::invalid(key, format!("`{value}` is none"), rule));
    values.iter().map(read).collect()
}

impl What {
    fn holds(&self, machine: &Machine) -> bool {
        match self {
            Self::Serial(all) => all.contains(&machine.serial),
            Self::Name(all) => all.contains(&machine.name),
            Self::Labels(all) => all.iter().all(|(label, value)| machine.labels.get(label) == Some(value)),
            Self::Rack(all) => all.contains(&machine.rack),
            Self::Role(all) => all.contains(&machine.role),
            Self::Ipv4(all) => machine.ipv4.iter().chain(&machine.bmc.ipv4).any(|address| all.contains(address)),
            Self::Ipv6(all) => machine.ipv6.iter().chain(&machine.bmc.ipv6).any(|address| all.contains(address)),
            Self::BmcType(all) => all.contains(&machine.bmc.kind),
            Self::State(all) => all.contains(&machine.state.name),
            Self::Mac(all) => machine.ids.macs.iter().any(|mac| all.contains(mac)),
            Self::DaysLeft { least, now } => {
                let days = |at: Timestamp| at.duration_since(*now).as_secs() / 86_400;
                machine.retires.map_or(i64::MIN, days) >= *least
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::machine;

    fn query(text: &str) -> Result<Query, Refusal> {
        Query::read(text.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| pair.split_once('=')))
    }

    /// neco.md §1.3: serial, labels (AND), rack, role, ipv4, ipv6, bmc-type, state (each OR), every one with `without-`.
    #[test]
    fn every_key_and_its_negation() {
        let mut subject = machine("a", 1, 4);
        subject.labels.insert("zone".to_owned(), "x".to_owned());
        subject.labels.insert("disk".to_owned(), "ssd".to_owned());
        subject.bmc.kind = "Redfish".to_owned();
        subject.ids.macs = vec!["52:54:00:00:00:01".to_owned()];
        for (text, holds) in [
            ("", true),
            ("serial=a", true),
            ("serial=b,a", true),
            ("serial=b", false),
            ("name=cs-1-4", true),
            ("labels=zone=x", true),
            ("labels=zone=x,disk=ssd", true),
            ("labels=zone=x,disk=hdd", false),
            ("rack=0,1", true),
            ("rack=0", false),
            ("role=cs", true),
            ("ipv4=10.69.0.196", true),
            ("ipv4=10.69.1.4", true),
            ("ipv4=10.69.0.4", false),
            ("bmc-type=Redfish", true),
            ("state=healthy,uninitialized", true),
            ("state=HEALTHY", false),
            ("mac=52-54-00-00-00-01", true),
            ("rack=1&role=ss", false),
        ] {
            let found = query(text).unwrap();
            assert_eq!(found.matches(&subject), holds, "{text}");
            if let Some((key, value)) = text.split_once('=').filter(|_| !text.contains('&')) {
                assert_eq!(
                    query(&format!("without-{key}={value}")).unwrap().matches(&subject),
                    !holds,
                    "without {text}"
                );
            }
        }
        assert!(query("rack=1&without-state=healthy").unwrap().matches(&subject));
    }

    /// As `matchMachine` of Sabakan's schema: any value of a list, all labels wanted, no label unwanted, whole days rounded down.
    #[test]
    fn what_graphql_asks() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut subject = machine("a", 1, 4);
        subject.labels.insert("zone".to_owned(), "x".to_owned());
        subject.retires = Some(now + jiff::SignedDuration::from_hours(24 * 10 + 23));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = |labels: &[(&str, &str)]| Wanted {
            labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
            ..Wanted::default()
        };
        let days = |least| Wanted { days_left: Some((least, now)), ..Wanted::default() };
        // Wanted; holds as `having`; holds as `notHaving`.
        for (wanted, having, without) in [
            (Wanted::default(), true, true),
            (labels(&[("zone", "x")]), true, false),
            (labels(&[("zone", "y")]), false, true),
            (labels(&[("zone", "x"), ("disk", "ssd")]), false, false),
            (Wanted { racks: vec![0, 1], ..Wanted::default() }, true, false),
            (Wanted { racks: vec![0], ..Wanted::default() }, false, true),
            (Wanted { roles: vec!["ss".to_owned()], ..Wanted::default() }, false, true),
            (Wanted { states: vec![State::Uninitialized, State::Healthy], ..Wanted::default() }, true, false),
            (days(10), true, false),
            (days(11), false, true),
        ] {
            for (negated, holds) in [(false, having), (true, without)] {
                let mut query = Query::default();
                query.add(wanted.clone(), negated).unwrap();
                assert_eq!(query.matches(&subject), holds, "{wanted:?}, negated: {negated}");
            }
        }
        subject.retires = None;
        let mut query = Query::default();
        query.add(days(-1_000_000), false).unwrap();
        assert!(!query.matches(&subject), "who has no date has no days left");
        let many = Wanted { racks: vec![0; 257], ..Wanted::default() };
        assert!(query.add(many, false).unwrap_err().message.contains("257 values"));
    }

    #[test]
    fn slips_are_refused_with_a_remedy() {
        for (text, field, rule) in [
            ("rak=1", "rak", "did you mean `rack`?"),
            ("colour=red", "colour", "write one of serial"),
            ("rack=one", "rack", "a number"),
            ("without-rack=one", "without-rack", "a number"),
            ("state=broken", "state", "uninitialized, healthy"),
            ("labels=zone", "labels", "LABEL=VALUE"),
            ("ipv4=10.69.0", "ipv4", "10.69.0.4"),
            ("role=", "role", "role=VALUE"),
        ] {
            let refusal = query(text).unwrap_err();
            assert_eq!(refusal.field, field, "{text}");
            assert!(refusal.rule.contains(rule), "{text}: {}", refusal.rule);
        }
        assert!(query(&format!("serial={}", "a,".repeat(300))).unwrap_err().message.contains("300 values"));
    }
}
