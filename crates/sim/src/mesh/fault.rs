//! What goes wrong in a mesh.

use fastrand::Rng;

use super::{Mesh, REGIONS, STATEMENTS, Step, TENANTS};

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// The kinds of faults that a [`Scenario`](crate::Scenario) can plant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[$doc])* $name,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in tables.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

fault_kinds! {
    /// A service computes longer, in all it does.
    OwnCpu = "own cpu",
    /// All statements of a service's database are slower.
    DatabaseSlow = "database slow",
    /// One statement among many is slower.
    SlowQuery = "slow query",
    /// The way from one service to another takes longer.
    NetworkEdge = "network edge",
    /// Connections of a service's pool are waited for.
    PoolExhausted = "pool exhausted",
    /// A lock in one operation is waited for.
    Lock = "lock",
    /// One operation runs a statement many times instead of once.
    NPlusOne = "n+1",
    /// A callee fails often, and its caller tries again.
    RetryStorm = "retry storm",
    /// A callee hangs, its caller gives up after a while and falls back.
    Timeout = "timeout",
    /// A cache no longer has what it had.
    CacheCold = "cache cold",
    /// One pod of a service computes longer.
    OnePod = "one pod",
    /// One version of a service computes longer.
    OneVersion = "one version",
    /// A service computes longer in one region.
    OneRegion = "one region",
    /// A service computes longer for one tenant.
    OneTenant = "one tenant",
    /// Calls that went out at once go out one after the other.
    MadeSerial = "made serial",
    /// A callee fails, and with it the request.
    DownstreamError = "downstream error",
    /// A service stops now and then, whatever it does.
    Pauses = "pauses",
    /// An operation makes a call that it did not make before.
    NewCall = "new call",
}

/// A planted fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) at_unix_nano: u64,
    /// Where: the faulty service and operation; for faults of calls, the caller.
    pub(crate) service: usize,
    pub(crate) operation: usize,
    /// For faults of calls: whom it calls.
    pub(crate) callee: (usize, usize),
    /// For faults of a statement.
    pub(crate) statement: usize,
    /// By how much an occurrence is slower.
    pub(crate) added_nanos: u64,
    /// For faults of a part of the traffic: the pod's number, the version, the region, the tenant.
    pub(crate) value: String,
}

/// What was planted, for the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Which fault.
    pub fault: FaultKind,
    /// The kinds of finding (as the API calls them) that name it rightly.
    pub finding_kinds: Vec<&'static str>,
    /// The service at fault.
    pub service: String,
    /// The operations, any of which is right; none where all of the service is at fault.
    pub operations: Vec<String>,
    /// Caller and callee, where the fault is in a call.
    pub edge: Option<(String, String)>,
    /// For whom, where not for all: the attributes that tell them apart, any of which is right.
    pub attributes: Vec<(String, String)>,
    /// Since when.
    pub onset_unix_nano: u64,
}

/// Faults whose size the place decides must add such a part of what a request takes, or nobody would ask.
const LEAST_ADDED: f64 = 0.05;

/// Operations that fewer requests than this pass through are too rare to plant a fault in.
const LEAST_VISITS: f64 = 0.2;

impl Fault {
    /// A fault of this kind somewhere in the mesh where it can occur; `None` if there is no such place. `request_nanos`
    /// is what a request takes: on average, it will take about a quarter to once as much again.
    pub(crate) fn plant(
        mesh: &Mesh,
        kind: FaultKind,
        rng: &mut Rng,
        at_unix_nano: u64,
        request_nanos: f64,
    ) -> Option<Self> {
        let visits = mesh.visits();
        let mut places: Vec<(usize, usize)> = (0..mesh.services.len())
            .flat_map(|service| (0..mesh.services[service].operations.len()).map(move |operation| (service, operation)))
            .filter(|(service, operation)| visits[*service][*operation] >= LEAST_VISITS)
            .collect();
        rng.shuffle(&mut places);
        let target_nanos = request_nanos * (0.25 + 0.75 * rng.f64());
        places.into_iter().find_map(|(service, operation)| {
            let mut fault = Self {
                kind,
                at_unix_nano,
                service,
                operation,
                callee: (0, 0),
                statement: 0,
                added_nanos: 0,
                value: String::new(),
            };
            let occurrences = fault.settle(mesh, rng, &visits, request_nanos)?;
            fault.added_nanos = (target_nanos / occurrences) as u64;
            Some(fault)
        })
    }

    /// Chooses the rest of the place, and says how often a request meets it.
    fn settle(&mut self, mesh: &Mesh, rng: &mut Rng, visits: &[Vec<f64>], request_nanos: f64) -> Option<f64> {
        let service = &mesh.services[self.service];
        let operation = &service.operations[self.operation];
        let here = visits[self.service][self.operation];
        let anywhere: f64 = visits[self.service].iter().sum();
        let count = |is_wanted: &dyn Fn(&Step) -> bool| -> f64 {
            let per_operation =
                |number: usize| service.operations[number].steps.iter().filter(|step| is_wanted(step)).count() as f64;
            (0..service.operations.len()).map(|number| visits[self.service][number] * per_operation(number)).sum()
        };
        let is_query = |step: &Step| matches!(step, Step::Query { .. });
        match self.kind {
            FaultKind::OwnCpu => Some(anywhere),
            FaultKind::Pauses => Some(anywhere),
            FaultKind::DatabaseSlow | FaultKind::PoolExhausted => {
                let queries = count(&is_query);
                (queries >= LEAST_VISITS).then_some(queries)
            }
            FaultKind::SlowQuery => {
                let of = |step: &Step| match step {
                    Step::Query { statement, .. } => Some(*statement),
                    _ => None,
                };
                self.statement = operation.steps.iter().find_map(of)?;
                let statement = self.statement;
                // One among many: the service has others.
                let others = count(&|step: &Step| of(step).is_some_and(|other| other != statement));
                (others > 0.0).then(|| count(&|step: &Step| of(step) == Some(statement)))
            }
            FaultKind::Lock => operation.steps.iter().any(|step| matches!(step, Step::Locked { .. })).then_some(here),
            FaultKind::NPlusOne => {
                let of = |step: &Step| match step {
                    Step::Query { statement, .. } => Some(*statement),
                    _ => None,
                };
                self.statement = operation.steps.iter().find_map(of)?;
                Some(here)
            }
            FaultKind::CacheCold => {
                let of = |step: &Step| match step {
                    Step::Cached { statement, nanos } => Some((*statement, *nanos)),
                    _ => None,
                };
                let (statement, nanos) = operation.steps.iter().find_map(of)?;
                self.statement = statement;
                (here * nanos as f64 >= LEAST_ADDED * request_nanos).then_some(here)
            }
            FaultKind::NetworkEdge | FaultKind::RetryStorm | FaultKind::Timeout => {
                let calls = operation.calls();
                let callee = *calls.get(rng.usize(0..calls.len().max(1)))?;
                self.callee = callee;
                let is_same = |(service, operation): &(usize, usize)| {
                    if self.kind == FaultKind::NetworkEdge {
                        *service == callee.0
                    } else {
                        (*service, *operation) == callee
                    }
                };
                let per_operation = |number: usize| {
                    service.operations[number].calls().iter().filter(|call| is_same(call)).count() as f64
                };
                let times: f64 = (0..service.operations.len())
                    .map(|number| visits[self.service][number] * per_operation(number))
                    .sum();
                (times >= LEAST_VISITS).then_some(times)
            }
            FaultKind::DownstreamError => (self.service > 0).then_some(here),
            FaultKind::MadeSerial => {
                let typical = mesh.typical_nanos();
                let gained = operation.steps.iter().map(|step| match step {
                    Step::Together { calls } => {
                        let each = || calls.iter().map(|(service, operation)| typical[*service][*operation]);
                        each().sum::<u64>() - each().max().unwrap_or(0)
                    }
                    _ => 0,
                });
                (here * gained.sum::<u64>() as f64 >= LEAST_ADDED * request_nanos).then_some(here)
            }
            FaultKind::NewCall => {
                let later = self.service + 1..mesh.services.len();
                let known = operation.calls();
                let callee = (!later.is_empty()).then(|| rng.usize(later))?;
                let number = rng.usize(0..mesh.services[callee].operations.len());
                self.callee = (callee, number);
                let is_new = !known.iter().any(|(service, _)| *service == callee);
                let nanos = mesh.typical_nanos()[callee][number];
                (is_new && here * nanos as f64 >= LEAST_ADDED * request_nanos).then_some(here)
            }
            FaultKind::OnePod => {
                self.value = rng.usize(0..service.pods.len()).to_string();
                Some(anywhere / service.pods.len() as f64)
            }
            FaultKind::OneVersion => {
                self.value = service.pods[0].version.clone();
                Some(anywhere * share(service.pods.iter().map(|pod| pod.version == self.value)))
            }
            FaultKind::OneRegion => {
                self.value = REGIONS[rng.usize(0..REGIONS.len())].to_owned();
                let share = share(service.pods.iter().map(|pod| pod.region == self.value));
                (share > 0.0 && share < 1.0).then_some(anywhere * share)
            }
            FaultKind::OneTenant => {
                self.value = format!("tenant-{}", rng.usize(0..TENANTS));
                Some(anywhere / TENANTS as f64)
            }
        }
    }

    /// Whether a pod is one of those at fault.
    pub(crate) fn hits_pod(&self, mesh: &Mesh, number: usize) -> bool {
        let pod = &mesh.services[self.service].pods[number];
        match self.kind {
            FaultKind::OnePod => self.value == number.to_string(),
            FaultKind::OneVersion => self.value == pod.version,
            FaultKind::OneRegion => self.value == pod.region,
            _ => true,
        }
    }

    /// What the judge goes by.
    pub(crate) fn truth(&self, mesh: &Mesh) -> Truth {
        let service = &mesh.services[self.service];
        let (callee, callee_operation) = (&mesh.services[self.callee.0], self.callee.1);
        let named = |statement: usize| {
            let (verb, table) = STATEMENTS[statement];
            format!("{verb} {table}")
        };
        let statement = || vec![named(self.statement)];
        // All that lies behind the cache is asked more often.
        let behind_caches = || {
            let behind = |step: &Step| match step {
                Step::Cached { statement, .. } => Some(named(*statement)),
                _ => None,
            };
            service.operations[self.operation].steps.iter().filter_map(behind).collect()
        };
        let here = || vec![service.operations[self.operation].name.clone()];
        let callee_operation = || vec![callee.operations[callee_operation].name.clone()];
        let edge = || Some((service.name.clone(), callee.name.clone()));
        let (finding_kinds, at_callee, operations, edge): (Vec<_>, _, _, _) = match self.kind {
            FaultKind::OwnCpu | FaultKind::Pauses => (vec!["self_time"], false, Vec::new(), None),
            FaultKind::OnePod | FaultKind::OneVersion | FaultKind::OneRegion | FaultKind::OneTenant => {
                (vec!["self_time"], false, Vec::new(), None)
            }
            FaultKind::DatabaseSlow => (vec!["external"], false, Vec::new(), None),
            FaultKind::SlowQuery => (vec!["external"], false, statement(), None),
            FaultKind::PoolExhausted | FaultKind::Lock => (vec!["waiting"], false, Vec::new(), None),
            FaultKind::NPlusOne => (vec!["more_calls"], false, statement(), None),
            FaultKind::CacheCold => (vec!["more_calls"], false, behind_caches(), None),
            FaultKind::NetworkEdge => (vec!["edge"], true, Vec::new(), edge()),
            FaultKind::RetryStorm => (vec!["retries"], true, Vec::new(), edge()),
            FaultKind::Timeout => (vec!["timeout"], true, Vec::new(), edge()),
            FaultKind::NewCall => (vec!["new_call"], true, callee_operation(), edge()),
            FaultKind::MadeSerial => (vec!["serialized"], false, here(), None),
            FaultKind::DownstreamError => (vec!["error"], false, here(), None),
        };
        Truth {
            fault: self.kind,
            finding_kinds,
            service: if at_callee { callee.name.clone() } else { service.name.clone() },
            operations,
            edge,
            attributes: self.attributes(mesh),
            onset_unix_nano: self.at_unix_nano,
        }
    }

    /// The attributes that single out exactly those at fault.
    fn attributes(&self, mesh: &Mesh) -> Vec<(String, String)> {
        let service = &mesh.services[self.service];
        match self.kind {
            FaultKind::OneTenant => vec![("tenant.id".to_owned(), self.value.clone())],
            FaultKind::OnePod | FaultKind::OneVersion | FaultKind::OneRegion => {
                let hit: Vec<bool> = (0..service.pods.len()).map(|number| self.hits_pod(mesh, number)).collect();
                let mut attributes = Vec::new();
                for pod in &service.pods {
                    for (key, value) in pod.attributes() {
                        let same = service.pods.iter().zip(&hit).all(|(other, hit)| {
                            other.attributes().iter().any(|(k, v)| *k == key && *v == value) == *hit
                        });
                        if same && !attributes.contains(&(key.to_owned(), value.to_owned())) {
                            attributes.push((key.to_owned(), value.to_owned()));
                        }
                    }
                }
                attributes
            }
            _ => Vec::new(),
        }
    }
}

fn share(hits: impl ExactSizeIterator<Item = bool>) -> f64 {
    let all = hits.len() as f64;
    hits.filter(|hit| *hit).count() as f64 / all
}
