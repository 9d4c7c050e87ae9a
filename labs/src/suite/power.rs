//! Power by the machine's controller, in lab `boot`: the boot server speaks Redfish to `weft-lab bmc`, which has QEMU behind it and faults before it,
//! then IPMI to `ipmi_sim` of OpenIPMI in its place.

use std::io;
use std::time::Instant;

use crate::boot::{LIMIT, UP};
use crate::count::Outcome;
use crate::machine::{console, says};
use crate::vip::Lab;

/// Whether the machine has power, whatever its controller says.
const TRUTH: &str = "sh /etc/lab/bmc.sh get power";

/// On by Redfish with UEFI HTTP once, off soft and then hard, and on again, as set up, through every fault.
pub(crate) fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("machine", "sh /etc/lab/power.sh off; rm -f /run/faults")?;
    let set = lab.shell("boot1", "weft-netboot bmc boot http N1")?;
    outcome.add(&Outcome::check(set.contains("http once"), format!("bmc boot http: {set}")));
    let began = Instant::now();
    let on = lab.shell("boot1", "weft-netboot bmc power on N1 --wait")?;
    outcome.add(&Outcome::check(on.contains("on: done"), format!("bmc power on: {on}")));
    says(lab, UP, began, LIMIT)?;
    let console = console(lab)?;
    let way = console.contains(">>Start HTTP Boot over IPv4");
    outcome.add(&Outcome::check(way, format!("the machine did not boot by UEFI HTTP: {console}")));
    outcome.notes.push(format!(
        "redfish: from the wish to known at the boot server {:.1} s, by UEFI HTTP",
        began.elapsed().as_secs_f64()
    ));
    let status = lab.shell("boot1", "weft-netboot bmc status node1")?;
    let once = status.contains("as set up") && status.contains(" on ");
    outcome.add(&Outcome::check(once, format!("`once` was not once: {status}")));
    off(lab, outcome)?;
    through_faults(lab, outcome)?;
    by_ipmi(lab, outcome)
}

/// The machine's operating system hears no button: soft, then hard.
fn off(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let off = lab.shell("boot1", "weft-netboot bmc power off N1 --wait 2>&1")?;
    let steps = ["soft power-off: taken", "hard power-off: taken", "off: done"];
    let well = steps.iter().all(|step| off.contains(step));
    outcome.add(&Outcome::check(well, format!("bmc power off: {off}")));
    let truth = lab.shell("machine", TRUTH)?;
    outcome.add(&Outcome::check(truth.contains("power:0"), format!("the machine is not off: {truth}")));
    Ok(())
}

/// Busy, slow, a lost connection, forgotten sessions, a press that comes to nothing, and a state that is not so.
fn through_faults(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let faults = "busy 2\\nslow 1 800ms\\nreset 1\\nforget 1\\nswallow 1\\nboast 1\\n";
    lab.shell("machine", &format!("printf '{faults}' > /run/faults"))?;
    let on = lab.shell("boot1", "weft-netboot bmc power on N1 --wait 2>&1")?;
    outcome.add(&Outcome::check(on.contains("on: done"), format!("bmc power on through faults: {on}")));
    let truth = lab.shell("machine", TRUTH)?;
    outcome.add(&Outcome::check(truth.contains("power:1"), format!("the machine is not on: {truth}; {on}")));
    let audit = lab.shell("boot1", "weft-netboot audit --subject N1")?;
    let told = audit.contains("bmc power off") && audit.contains("bmc boot http once");
    outcome.add(&Outcome::check(told, format!("not in the audit log: {audit}")));
    lab.shell("machine", "rm -f /run/faults; sh /etc/lab/power.sh off")?;
    Ok(())
}

/// Another controller at the same address, which has no Redfish: it is asked by IPMI once the certificate of the old one is forgotten.
fn by_ipmi(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("machine", "sh /etc/lab/bmc.sh ipmi")?;
    lab.shell("boot1", "weft-netboot bmc forget N1")?;
    for (wish, power) in [("on", "power:1"), ("off --hard", "power:0")] {
        let said = lab.shell("boot1", &format!("weft-netboot bmc power {wish} N1 --wait 2>&1"))?;
        outcome.add(&Outcome::check(
            said.contains(": done") && said.contains("10.72.17.39:623"),
            format!("bmc power {wish} by IPMI: {said}"),
        ));
        let truth = lab.shell("machine", TRUTH)?;
        outcome.add(&Outcome::check(truth.contains(power), format!("by IPMI the machine is not {wish}: {truth}")));
    }
    Ok(())
}
