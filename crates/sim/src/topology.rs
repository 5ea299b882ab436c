//! Services, their operations, who calls whom.

/// A call graph without cycles: service 0 is the gateway, and each service calls only later ones.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) instances: usize,
    pub(crate) operations: Vec<Operation>,
    pub(crate) calls: Vec<usize>,
    pub(crate) database: &'static str,
    /// Whether others call it over gRPC rather than HTTP.
    pub(crate) is_grpc: bool,
    /// Whether it takes messages from a broker.
    pub(crate) is_worker: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) method: &'static str,
    pub(crate) route: String,
}

/// What services are called, in the order in which they are made.
pub(crate) const NAMES: [&str; 20] = [
    "gateway",
    "storefront",
    "account",
    "checkout",
    "search",
    "catalog",
    "cart",
    "pricing",
    "payment",
    "inventory",
    "recommend",
    "shipping",
    "review",
    "fraud",
    "notification",
    "ledger",
    "media",
    "profile",
    "translation",
    "audit",
];
const RESOURCES: [&str; 8] = ["products", "orders", "users", "items", "quotes", "batches", "reports", "sessions"];
const DATABASES: [&str; 3] = ["postgresql", "mysql", "mongodb"];
const OPERATIONS: usize = 4;

impl Topology {
    /// A graph of this many services (at least 2); the same seed gives the same graph.
    pub fn new(seed: u64, services: usize) -> Self {
        let count = services.max(2);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x7090_1097);
        let services = (0..count)
            .map(|place| {
                let round = place / NAMES.len();
                let name = NAMES[place % NAMES.len()];
                let later = count - place - 1;
                let mut calls: Vec<usize> = (0..rng.usize(2..5).min(later))
                    .map(|_| place + 1 + rng.usize(0..later.min(7)))
                    // The next one is always called, so that every service is reached.
                    .chain((later > 0).then_some(place + 1))
                    .collect();
                calls.sort_unstable();
                calls.dedup();
                let is_grpc = place > 1 && rng.u8(0..10) < 4;
                Service {
                    name: if round == 0 { name.to_owned() } else { format!("{name}-{}", round + 1) },
                    version: format!("{}.{}.{}", rng.u8(1..5), rng.u8(0..30), rng.u8(0..10)),
                    instances: rng.usize(1..5),
                    operations: (0..OPERATIONS).map(|_| operation(&mut rng, name, is_grpc)).collect(),
                    calls,
                    database: DATABASES[rng.usize(0..DATABASES.len())],
                    is_grpc,
                    is_worker: place > 2 && place % 5 == 4,
                }
            })
            .collect();
        Self { services }
    }
}

fn operation(rng: &mut fastrand::Rng, service: &str, is_grpc: bool) -> Operation {
    let resource = RESOURCES[rng.usize(0..RESOURCES.len())];
    if is_grpc {
        let verb = ["Get", "List", "Update", "Check"][rng.usize(0..4)];
        let method = format!("shop.{service}.v1/{verb}_{resource}");
        return Operation { name: method.clone(), method: "POST", route: method };
    }
    let method = ["GET", "GET", "POST", "PUT"][rng.usize(0..4)];
    let route = match rng.u8(0..3) {
        0 => format!("/api/{service}/{resource}"),
        1 => format!("/api/{service}/{resource}/{{id}}"),
        _ => format!("/api/{service}/{resource}/{{id}}/summary"),
    };
    Operation { name: format!("{method} {route}"), method, route }
}
