//! Ends canaries with which a machine failed, when the configuration asks for it. Each server looks; the store takes one rollback, and only
//! of what was judged.

use crate::boot::rollout::rollouts;
use crate::boot::{Boots, Change};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::io::service::{Service, now};
use std::sync::Arc;
use std::time::Duration;

/// How often canaries are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Looks for ever.
pub(super) async fn watch(service: Arc<Service>) {
    let actor = Actor { name: "canary".to_owned(), access: Access::Admin, via: "boot.auto_rollback".to_owned() };
    loop {
        tokio::time::sleep(EVERY).await;
        for change in held(&service) {
            match service.run(&Command::Boot { change: change.clone() }, &actor).await {
                Ok(_) => tracing::warn!(what = change.action(), "a machine failed with a canary"),
                Err(error) => tracing::warn!(what = change.action(), %error, "a canary cannot be ended"),
            }
        }
    }
}

fn held(service: &Service) -> Vec<Change> {
    let inventory = service.inventory();
    let nothing = Boots::default();
    let boots = inventory.boots().map_or(&nothing, Arc::as_ref);
    if boots.canaries.is_empty() {
        return Vec::new();
    }
    let all = rollouts(boots, inventory.machines(), now());
    let held = all
        .into_iter()
        .filter_map(|rollout| Some((rollout.role, rollout.canary.filter(|canary| canary.held.is_some())?)));
    held.map(|(role, trials)| Change::Rollback { role, of: Some(trials.canary.to) }).collect()
}
