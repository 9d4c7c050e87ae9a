//! What a stage found: counts of tests and checks, read from libtest's own summary lines or from a verify report.

/// Counts of tests and checks, and sentences for the person who reads the run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tests and checks that held.
    pub(crate) passed: u32,
    /// Tests and checks that did not.
    pub(crate) failed: u32,
    /// Tests and checks that could not be run here, each with a note that says why.
    pub(crate) skipped: u32,
    /// Lines to print under the stage.
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// One check that held.
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One check that failed.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { failed: 1, notes: vec![format!("FAILED: {}", why.into())], ..Self::default() }
    }

    /// One check that could not run.
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: 1, notes: vec![format!("SKIPPED: {}", why.into())], ..Self::default() }
    }

    /// A check by its result.
    pub(crate) fn check(held: bool, what: impl Into<String>) -> Self {
        if held { Self::passed() } else { Self::failed(what) }
    }

    /// Adds counts and notes of another outcome.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.notes.extend(other.notes.iter().cloned());
    }
}

/// Sums libtest's `test result:` lines and names the tests that failed.
///
/// A run that ended badly without any failed test (it did not compile, a test process died) counts as one failure.
pub(crate) fn libtest(log: &str, ended_well: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for line in log.lines() {
        if let Some(rest) = line.strip_prefix("test result: ") {
            for part in rest.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let Some(number) = words.next().and_then(|word| word.parse::<u32>().ok()) else {
                    continue;
                };
                match words.next() {
                    Some("passed") => outcome.passed += number,
                    Some("failed") => outcome.failed += number,
                    Some("ignored") => outcome.skipped += number,
                    _ => {}
                }
            }
        } else if line.starts_with("test ") && line.ends_with("... FAILED") {
            outcome.notes.push(line.to_owned());
        } else if line.starts_with("test ") && line.contains("... ignored") {
            outcome.notes.push(format!("SKIPPED: {line}"));
        } else if line.contains("SKIPPED: ") {
            outcome.skipped += 1;
            outcome.notes.push(line.trim().to_owned());
        }
    }
    if !ended_well && outcome.failed == 0 {
        outcome.add(&Outcome::failed("the test command ended with an error before a test could fail"));
    }
    outcome
}

/// Counts the checks of a `weft-lab verify --json` report.
pub(crate) fn verify_report(json: &str) -> Result<Outcome, serde_json::Error> {
    let report: serde_json::Value = serde_json::from_str(json)?;
    let mut outcome = Outcome::default();
    for check in report["checks"].as_array().into_iter().flatten() {
        let name = check["name"].as_str().unwrap_or("?");
        let detail = check["detail"].as_str().unwrap_or("");
        match check["outcome"].as_str() {
            Some("passed") => outcome.passed += 1,
            Some("skipped") => outcome.add(&Outcome::skipped(format!("{name}: {detail}"))),
            _ => outcome.add(&Outcome::failed(format!("{name}: {detail}"))),
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_summaries_are_summed_over_binaries() {
        let log = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                   test a::b ... FAILED\n\
                   test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let outcome = libtest(log, false);
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (15, 1, 1));
    }

    #[test]
    fn a_run_that_does_not_compile_is_one_failure() {
        assert_eq!(libtest("error: could not compile\n", false).failed, 1);
    }

    #[test]
    fn a_verify_report_counts_each_check() {
        let json =
            r#"{"checks":[{"name":"a","outcome":"passed"},{"name":"b","outcome":"failed","detail":"no route"}]}"#;
        let outcome = verify_report(json).unwrap();
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
        assert_eq!(outcome.notes, ["FAILED: b: no route"]);
    }
}
