//! A mesh of services whose operations have plans: an operation always does the same steps, as programs do.

pub(crate) mod fault;
pub(crate) mod request;

use fastrand::Rng;

use crate::topology::NAMES;

/// Services; each calls only later ones, and requests enter at the first.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) database: &'static str,
    pub(crate) is_grpc: bool,
    pub(crate) pods: Vec<Pod>,
    pub(crate) operations: Vec<Operation>,
}

/// A process with a clock of its own.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) region: &'static str,
    pub(crate) version: String,
    pub(crate) skew_nanos: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// What an operation does next. Times are medians.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Work that has no span.
    Work { nanos: u64 },
    /// Work in a span.
    Internal { name: &'static str, nanos: u64 },
    /// A connection from the pool, then a statement.
    Query { statement: usize, nanos: u64 },
    /// A cache, and on a miss the statement behind it.
    Cached { statement: usize, nanos: u64 },
    /// Work under a lock that is waited for in a span.
    Locked { nanos: u64 },
    /// A call of another service.
    Call { service: usize, operation: usize },
    /// Calls that go out at once and are all waited for.
    Together { calls: Vec<(usize, usize)> },
    /// A message that nobody waits for.
    Send { service: usize },
}

pub(crate) const REGIONS: [&str; 3] = ["eu-west-1", "eu-central-1", "us-east-1"];
pub(crate) const TENANTS: usize = 8;

/// Statements by number: verb and table.
pub(crate) const STATEMENTS: [(&str, &str); 10] = [
    ("SELECT", "orders"),
    ("SELECT", "items"),
    ("SELECT", "users"),
    ("SELECT", "prices"),
    ("SELECT", "stock_levels"),
    ("INSERT", "events"),
    ("UPDATE", "orders"),
    ("INSERT", "orders"),
    ("SELECT", "events"),
    ("UPDATE", "stock_levels"),
];

const OPERATIONS: [&str; 6] = ["list", "detail", "create", "update", "quote", "check"];
const WORK: [&str; 6] = ["validate", "render", "serialize response", "apply discounts", "authorize", "merge results"];

/// How many spans an operation may cause, so that a deep mesh has no traces of millions.
const MOST_SPANS: f64 = 45.0;

impl Mesh {
    pub(crate) fn new(seed: u64, services: usize, skew_nanos: f64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x05ea_f5e1);
        let count = services.max(2);
        // Later services first: a caller has to know what its callees cost.
        let mut made: Vec<Service> = Vec::new();
        let mut sizes: Vec<Vec<f64>> = vec![Vec::new(); count];
        for place in (0..count).rev() {
            let operations = if place == 0 { 4 } else { rng.usize(2..5) };
            let later: Vec<usize> = (place + 1..count).collect();
            let mut plans = Vec::new();
            for number in 0..operations {
                let (steps, size) = plan(&mut rng, place, number, &later, &sizes);
                sizes[place].push(size);
                plans.push(steps);
            }
            made.push(service(&mut rng, place, plans, skew_nanos));
        }
        made.reverse();
        Self { services: made }
    }

    /// The median duration of each operation, as if nothing varied, by service and operation.
    pub(crate) fn typical_nanos(&self) -> Vec<Vec<u64>> {
        let mut typical: Vec<Vec<u64>> =
            self.services.iter().map(|service| vec![0; service.operations.len()]).collect();
        for place in (0..self.services.len()).rev() {
            for (number, operation) in self.services[place].operations.iter().enumerate() {
                let of = |(service, operation): (usize, usize)| 500_000 + typical[service][operation];
                let step = |step: &Step| match step {
                    Step::Work { nanos } | Step::Internal { nanos, .. } | Step::Locked { nanos } => *nanos,
                    Step::Query { nanos, .. } => *nanos,
                    Step::Cached { .. } => 200_000,
                    Step::Call { service, operation } => of((*service, *operation)),
                    Step::Together { calls } => calls.iter().map(|call| of(*call)).max().unwrap_or(0),
                    Step::Send { .. } => 300_000,
                };
                let sum = operation.steps.iter().map(step).sum();
                typical[place][number] = sum;
            }
        }
        typical
    }

    /// How often each operation runs in a request, on average, by service and operation.
    pub(crate) fn visits(&self) -> Vec<Vec<f64>> {
        let mut visits: Vec<Vec<f64>> =
            self.services.iter().map(|service| vec![0.0; service.operations.len()]).collect();
        let entries = visits[0].len() as f64;
        visits[0].fill(1.0 / entries);
        for place in 0..self.services.len() {
            for (number, operation) in self.services[place].operations.iter().enumerate() {
                let times = visits[place][number];
                for (service, operation) in operation.calls() {
                    visits[service][operation] += times;
                }
            }
        }
        visits
    }
}

impl Operation {
    /// The operations that it calls and waits for.
    pub(crate) fn calls(&self) -> Vec<(usize, usize)> {
        let mut calls = Vec::new();
        for step in &self.steps {
            match step {
                Step::Call { service, operation } => calls.push((*service, *operation)),
                Step::Together { calls: together } => calls.extend(together),
                _ => {}
            }
        }
        calls
    }

    /// The median of its own work.
    pub(crate) fn own_nanos(&self) -> u64 {
        let own = |step: &Step| match step {
            Step::Work { nanos } | Step::Internal { nanos, .. } | Step::Locked { nanos } => *nanos,
            _ => 0,
        };
        self.steps.iter().map(own).sum()
    }
}

fn service(rng: &mut Rng, place: usize, plans: Vec<Vec<Step>>, skew_nanos: f64) -> Service {
    let (round, base) = (place / NAMES.len(), NAMES[place % NAMES.len()]);
    let name = if round == 0 { base.to_owned() } else { format!("{base}-{}", round + 1) };
    let is_grpc = place > 1 && rng.u8(0..10) < 4;
    let operations = plans
        .into_iter()
        .enumerate()
        .map(|(number, steps)| {
            let verb = OPERATIONS[number];
            let name = if is_grpc { format!("shop.{base}.v1/{verb}") } else { format!("GET /api/{base}/{verb}") };
            Operation { name, steps }
        })
        .collect();
    let (old, new) = (format!("2.{}.0", rng.u8(0..30)), format!("2.{}.0", rng.u8(30..60)));
    let pods = rng.usize(3..7);
    // Some pods run the next version already.
    let on_new = rng.usize(1..=pods / 2);
    let pods = (0..pods)
        .map(|pod| Pod {
            name: format!("{name}-7d9f8b6c5-{:05x}", rng.u32(..1 << 20)),
            node: format!("node-{}", rng.u8(0..12)),
            region: REGIONS[rng.usize(0..REGIONS.len())],
            version: if pod < on_new { new.clone() } else { old.clone() },
            skew_nanos: (skew_nanos * crate::workload::normal(rng)) as i64,
        })
        .collect();
    Service { name, database: ["postgresql", "mysql", "mongodb"][rng.usize(0..3)], is_grpc, pods, operations }
}

/// The steps of one operation and how many spans they make.
fn plan(rng: &mut Rng, place: usize, number: usize, later: &[usize], sizes: &[Vec<f64>]) -> (Vec<Step>, f64) {
    let mut steps = vec![Step::Work { nanos: rng.u64(300_000..2_000_000) }];
    let mut size = 1.0;
    let call = |rng: &mut Rng, size: &mut f64| -> Option<(usize, usize)> {
        // The next service is called by the first operation, so that every service is reached.
        let service =
            if number == 0 && *size < 2.0 { *later.first()? } else { later[rng.usize(0..later.len().min(8))] };
        let operation = rng.usize(0..sizes[service].len());
        let added = 1.0 + sizes[service][operation];
        (*size + added <= MOST_SPANS || *size < 2.0).then(|| {
            *size += added;
            (service, operation)
        })
    };
    let count = rng.usize(2..5);
    for step in 0..count {
        let is_call = !later.is_empty() && (step == 0 || rng.u8(0..10) < 4);
        if is_call && rng.u8(0..3) == 0 {
            let wanted = rng.usize(2..4);
            let calls: Vec<_> = (0..wanted).filter_map(|_| call(rng, &mut size)).collect();
            if !calls.is_empty() {
                steps.push(Step::Together { calls });
            }
        } else if is_call {
            if let Some((service, operation)) = call(rng, &mut size) {
                steps.push(Step::Call { service, operation });
            }
        } else {
            let (next, spans) = local(rng, place, later);
            size += spans;
            steps.push(next);
        }
        steps.push(Step::Work { nanos: rng.u64(50_000..600_000) });
    }
    if later.is_empty() || place > 1 {
        steps.push(Step::Query { statement: rng.usize(0..STATEMENTS.len()), nanos: rng.u64(800_000..5_000_000) });
        size += 2.0;
    }
    steps.push(Step::Work { nanos: rng.u64(100_000..800_000) });
    (steps, size)
}

/// A step within the service.
fn local(rng: &mut Rng, place: usize, later: &[usize]) -> (Step, f64) {
    let statement = rng.usize(0..STATEMENTS.len());
    match rng.u8(0..12) {
        0..4 => (Step::Query { statement, nanos: rng.u64(800_000..5_000_000) }, 2.0),
        4..6 => (Step::Cached { statement, nanos: rng.u64(3_000_000..12_000_000) }, 1.2),
        6..8 => (Step::Locked { nanos: rng.u64(100_000..400_000) }, 1.0),
        8 if place > 0 && !later.is_empty() => (Step::Send { service: later[rng.usize(0..later.len())] }, 2.0),
        _ => (Step::Internal { name: WORK[rng.usize(0..WORK.len())], nanos: rng.u64(200_000..3_000_000) }, 1.0),
    }
}
