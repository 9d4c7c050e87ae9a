//! Lines of `faults:`, good and bad.

use super::*;

fn read(text: &str) -> Result<Incident, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn every_kind_of_fault_can_be_written() {
    let cases = [
        ("{at: 5s, link: \"leaf1:eth1\", loss: 10%, for: 3s, seed: 7}", "5s leaf1:eth1 loss 10%, for 3s"),
        ("{at: 0, link: \"a:e\", do: unplug}", "0ns a:e unplug"),
        ("{at: 1, link: \"a:e\", do: deafen, way: out}", "1s a:e deafen, what it sends"),
        (
            "{at: 1, link: \"a:e\", delay: 10ms, jitter: 2ms, reorder: 0.5%}",
            "1s a:e delay 10ms jitter 2ms reorder 0.5%",
        ),
        (
            "{at: 1, link: \"a:e\", rate: 10mbit, duplicate: 1, corrupt: 2%}",
            "1s a:e duplicate 1% corrupt 2% rate 10mbit",
        ),
        ("{at: 1500ms, node: a, do: kill, for: 1s}", "1.5s a kill, for 1s"),
        ("{at: 1, node: a, do: pause, for: 1s}", "1s a pause, for 1s"),
        ("{at: 1, node: a, do: restart}", "1s a restart"),
        ("{at: 1, node: a, clock: 1h}", "1s a clock +3600 s"),
        ("{at: 1, node: a, clock: -90s}", "1s a clock -90 s"),
        ("{at: 1, partition: [b, a], for: 2s}", "1s a,b partition, for 2s"),
    ];
    for (text, shown) in cases {
        assert_eq!(read(text).map(|incident| incident.to_string()), Ok(shown.to_owned()), "{text}");
    }
}

#[test]
fn numbers_of_a_line_are_those_of_the_cable() {
    let incident = read("{at: 5s, link: \"leaf1:eth1\", loss: 0.1%, rate: 64kbit, way: in, seed: 7}").unwrap();
    let Fault::Cable { end, way, harm } = incident.fault else { panic!("a cable") };
    assert_eq!((end.to_string(), way), ("leaf1:eth1".to_owned(), Way::In));
    assert_eq!(harm, Harm { loss: 1_000, rate: Some(64_000), seed: 7, ..Harm::default() });
}

#[test]
fn within_is_that_of_all_expectations_of_the_line() {
    let text =
        "{at: 1, node: a, do: kill, expect: [{at: b, absent: 10.0.0.0/8}, {at: c, absent: 10.0.0.0/8}], within: 300ms}";
    let incident = read(text).unwrap();
    assert!(incident.expect.iter().all(|expectation| expectation.within == Duration::from_millis(300)));
    assert_eq!(incident.expect.len(), 2);
}

#[test]
fn nonsense_is_refused_with_the_word_that_is_wrong() {
    for (text, said) in [
        ("{link: \"a:e\", do: unplug}", "at"),
        ("{at: soon, link: \"a:e\", do: unplug}", "soon"),
        ("{at: 1, link: a, do: unplug}", "NODE:INTERFACE"),
        ("{at: 1, link: \"a:e\"}", "one of"),
        ("{at: 1, link: \"a:e\", do: kill}", "no `do: kill` there"),
        ("{at: 1, node: a, do: unplug}", "no `do: unplug` there"),
        ("{at: 1, node: a, loss: 1%}", "at a node"),
        ("{at: 1, node: a, link: \"a:e\", do: kill}", "a fault has one of"),
        ("{at: 1, partition: [], for: 1s}", "a fault has one of"),
        ("{at: 1, partition: [a], loss: 1%}", "a fault has one of"),
        ("{at: 1, link: \"a:e\", loss: 101%}", "loss"),
        ("{at: 1, link: \"a:e\", delay: 11s}", "delay"),
        ("{at: 1, link: \"a:e\", delay: 1ms, jitter: 2ms}", "jitter"),
        ("{at: 1, link: \"a:e\", reorder: 1%}", "reorder"),
        ("{at: 1, link: \"a:e\", do: unplug, way: out}", "one of"),
        ("{at: 1, link: \"a:e\", clock: 1s}", "clock"),
        ("{at: 1, node: a, clock: 90000h, for: 1s}", "clock"),
        ("{at: 1, node: a, do: restart, for: 1s}", "restart"),
        ("{at: 1, node: a, do: kill, within: 1s}", "within"),
        ("{at: 1, node: a, do: kill, seeds: 1}", "seeds"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}
