//! Reads what an earlier run wrote, so that cases can be measured apart and stand in one file.

use std::fmt;
use std::marker::PhantomData;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{Outcome, Runs};
use crate::case::Figures;

/// An object whose members keep their order: the first daemon is the base of the ratios.
struct Members<T>(Vec<(String, T)>);

/// Of a run.
#[derive(Deserialize)]
#[serde(untagged)]
enum Figure {
    Measured(f64),
    /// `> LIMIT`
    Beyond(String),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Members<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All(PhantomData))
    }
}

/// All cases of a file that [`super::json`] wrote.
///
/// # Errors
/// When it is none.
pub fn read(text: &str) -> Result<Vec<Outcome>> {
    let cases: Members<Members<Vec<Members<Figure>>>> = serde_json::from_str(text)?;
    let cases = cases.0.into_iter();
    cases.map(|(case, daemons)| outcome(&case, daemons).with_context(|| case.clone())).collect()
}

fn outcome(case: &str, daemons: Members<Vec<Members<Figure>>>) -> Result<Outcome> {
    let mut outcome = Outcome { case: case.to_owned(), limit_s: 0, daemons: Vec::new() };
    for (name, runs) in daemons.0 {
        let runs = runs.into_iter().map(|run| figures(run, &mut outcome.limit_s)).collect::<Result<_>>()?;
        outcome.daemons.push(Runs { name, runs });
    }
    Ok(outcome)
}

fn figures(run: Members<Figure>, limit_s: &mut u64) -> Result<Figures> {
    let mut figures = Figures::new();
    for (name, value) in run.0 {
        let value = match value {
            Figure::Measured(value) => value,
            Figure::Beyond(text) => {
                *limit_s = text.strip_prefix("> ").context("a number or `> LIMIT`")?.parse()?;
                f64::INFINITY
            }
        };
        // few, and needed to the end
        figures.push((name.leak(), value));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_with_its_order() {
        let bird =
            Runs { name: "bird".to_owned(), runs: vec![vec![("up_s", 2.5), ("hwm_mb", 10.0)], vec![("up_s", 3.5)]] };
        let a = Runs { name: "a".to_owned(), runs: vec![vec![("up_s", f64::INFINITY)]] };
        let text = super::super::json(&[Outcome { case: "e2".to_owned(), limit_s: 60, daemons: vec![bird, a] }]);
        let all = read(&text).unwrap();
        assert_eq!(super::super::json(&all), text);
        assert_eq!(all[0].daemons[0].name, "bird", "the base of the ratios comes first");
    }
}
