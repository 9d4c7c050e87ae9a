//! What operators take into their own systems: alert rules and the questions of the dashboard, tried by Prometheus' own tool,
//! and the image FROM scratch.

use std::fmt::Write as _;
use std::{fs, io};

use crate::count::Outcome;
use crate::dockerfile;
use crate::packages;
use crate::run::{Context, Log, find_program};

/// Debian's package of `promtool`; its service is not started.
const PROMETHEUS: &str = "prometheus";

/// What is asked of the tool, in `fabric/deploy`, and what it means when it refuses.
const QUESTIONS: [(&[&str], &str); 2] = [
    (&["check", "rules", "alerts.yaml"], "Prometheus does not take the alert rules"),
    (&["test", "rules", "alerts.test.yaml"], "alerts are not raised as their tests say"),
];

pub(crate) fn deploy(context: &Context) -> io::Result<Outcome> {
    let log = context.log("deploy")?;
    let mut outcome = dockerfile::image(context, &log)?;
    outcome.add(&rules_and_dashboard(context, &log)?);
    Ok(outcome)
}

fn rules_and_dashboard(context: &Context, log: &Log) -> io::Result<Outcome> {
    let is_root = rustix::process::geteuid().is_root();
    if find_program("promtool").is_none() && is_root && find_program("apt-get").is_some() {
        packages::install_each(context, log, &[PROMETHEUS])?;
    }
    let Some(promtool) = find_program("promtool") else {
        return Ok(Outcome::skipped(
            "alert rules: no program `promtool` (Debian: prometheus), and it could not be installed",
        ));
    };
    let mut outcome = Outcome::default();
    for (words, why) in QUESTIONS {
        let mut command = context.command(&promtool, words);
        let held = log.run(command.current_dir(context.root.join("fabric/deploy")))?;
        outcome.add(&Outcome::check(held, why));
    }
    let dashboard = fs::read_to_string(context.root.join("fabric/deploy/dashboard.json"))?;
    let questions = rules(&serde_json::from_str(&dashboard)?);
    let file = context.target.join("suite/dashboard.rules.yaml");
    fs::write(&file, questions)?;
    let mut command = context.command(&promtool, &["check", "rules"]);
    let held = log.run(command.arg(&file))?;
    outcome.add(&Outcome::check(held, "Prometheus does not take what the dashboard asks"));
    Ok(outcome)
}

/// Every question of a dashboard as a rule, which is what the tool reads. Grafana puts a pattern in the place of its variable.
fn rules(dashboard: &serde_json::Value) -> String {
    let mut all = Vec::new();
    expressions(dashboard, &mut all);
    let mut out = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (at, expression) in all.iter().enumerate() {
        let expression = serde_json::Value::from(expression.replace("$instance", ".*"));
        // Writing to memory cannot fail; a string of JSON is one of YAML.
        let _ = writeln!(out, "      - {{record: 'dashboard:question:{at}', expr: {expression}}}");
    }
    out
}

fn expressions<'a>(value: &'a serde_json::Value, all: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            all.extend(fields.get("expr").and_then(serde_json::Value::as_str));
            fields.values().for_each(|field| expressions(field, all));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| expressions(item, all)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_of_a_dashboard_becomes_a_rule() {
        let dashboard =
            serde_json::json!({"panels": [{"targets": [{"expr": "up{instance=~\"$instance\"}"}, {"expr": "b"}]}]});
        let expected = "groups:\n  - name: dashboard\n    rules:\n      \
            - {record: 'dashboard:question:0', expr: \"up{instance=~\\\".*\\\"}\"}\n      - {record: 'dashboard:question:1', expr: \"b\"}\n";
        assert_eq!(rules(&dashboard), expected);
    }
}
