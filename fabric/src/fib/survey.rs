//! What a dump shows, taken in as it arrives: a table of a million is never held twice, and nothing changes before the dump is whole.

use super::op::{Dump, Found, HeldNexthop, HeldRoute, RouteKey};
use super::routes::{Held, Looked};
use super::{Fib, source_of};

/// A dump as far as it has been read. [`Fib::look`] must be given all of one dump, and the [`Fib`] may not change meanwhile but for
/// what is wanted of objects and who is alive.
#[derive(Debug)]
pub struct Survey {
    nexthops: Vec<HeldNexthop>,
    routes: Looked,
}

impl Fib {
    /// A dump begins.
    #[must_use]
    pub fn survey(&self) -> Survey {
        Survey { nexthops: Vec::new(), routes: self.routes.begin_look() }
    }

    /// Takes in one thing that the dump shows.
    pub fn look(&self, survey: &mut Survey, found: Found) {
        match found {
            Found::Nexthop(object) => survey.nexthops.push(object),
            Found::Route(route) => {
                let (key, held) = self.as_held(&route);
                self.routes.look(&mut survey.routes, key, held);
            }
        }
    }

    fn as_held(&self, route: &HeldRoute) -> (RouteKey, Held) {
        let exact = route.source == source_of(&self.config, &route.key, route.target);
        (route.key, Held { target: route.target, exact })
    }

    /// Follows a dump that is whole. Until [`Fib::sweep`], what nobody wants is adopted; afterwards it goes.
    /// Returns how much was not as believed.
    pub fn conclude(&mut self, survey: Survey) -> u64 {
        let objects = self.objects.compare(&survey.nexthops);
        // What the dump does not list is gone with its routes; the list of routes below says which.
        for (old, new) in &objects.renumbered {
            self.last_set = None;
            self.routes.renumber(*old, *new);
        }
        let routes = self.routes.follow(survey.routes, !self.swept);
        self.routes.retry_starved();
        let drift = u64::try_from(objects.drift + routes).unwrap_or(u64::MAX);
        self.drift += drift;
        self.follow_touched();
        self.retry_all();
        drift
    }

    /// The three in one, with a dump that is there.
    pub fn compare(&mut self, dump: Dump) -> u64 {
        let mut survey = self.survey();
        let all = dump.nexthops.into_iter().map(Found::Nexthop).chain(dump.routes.into_iter().map(Found::Route));
        all.for_each(|found| self.look(&mut survey, found));
        self.conclude(survey)
    }
}
