//! How often `why` is right about planted faults, and how often it sees one where there is none.
//!
//! `cargo run --release -p tracewell-sim --example eval -- [--seeds N] [--fault-free N] [--misses]`

#[path = "../tests/judge/mod.rs"]
mod judge;

use judge::{Verdict, judge, run, scenario};
use tracewell_sim::{FaultKind, Scenario};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (seeds, fault_free) = (number("--seeds", 30), number("--fault-free", 200));
    let shows_misses = arguments.iter().any(|argument| argument == "--misses");
    let only = arguments.iter().position(|argument| argument == "--only").and_then(|place| arguments.get(place + 1));

    println!(
        "{seeds} seeds a fault; 5 to 40 services, 10 % of requests sampled, 1 % of spans missing, clocks 4 ms apart"
    );
    println!();
    println!(
        "{:<17} {:>5} {:>8} {:>8} {:>9} {:>10} {:>7}",
        "fault", "cause", "in three", "service", "attribute", "significant", "onset"
    );
    let mut all: Vec<Verdict> = Vec::new();
    for kind in FaultKind::ALL.iter().filter(|kind| only.is_none_or(|only| kind.as_str() == only)) {
        let mut verdicts = Vec::new();
        for seed in 0..seeds {
            let (windows, why) = run(&scenario(*kind, seed));
            let Some(truth) = &windows.truth else { continue };
            let verdict = judge(&windows, truth, &why);
            let late = verdict.onset.is_none_or(|off| off > 0.05);
            if shows_misses && (!verdict.cause || verdict.attribute == Some(false) || late) {
                eprintln!("{} {seed}: {truth:?}", kind.as_str());
                eprintln!("    {} (onset off by {:?})", why.summary, verdict.onset);
                for finding in why.findings.iter().take(3) {
                    eprintln!(
                        "    {} {} {:?} {}",
                        finding.rank,
                        finding.kind.as_str(),
                        finding.attributes,
                        finding.sentence
                    );
                }
            }
            verdicts.push(verdict);
        }
        println!("{}", row(kind.as_str(), &verdicts));
        all.extend(verdicts);
    }
    println!("{}", row("all", &all));

    let mut false_alarms = 0;
    for seed in 0..fault_free {
        let (_, why) = run(&Scenario::new(500_000 + seed));
        if why.significant {
            false_alarms += 1;
            if shows_misses {
                eprintln!("fault-free {seed}: {}", why.summary);
                why.findings
                    .iter()
                    .filter(|finding| finding.significant)
                    .for_each(|finding| eprintln!("    {}", finding.sentence));
            }
        }
    }
    println!();
    println!("without a fault: {false_alarms} of {fault_free} runs have a significant finding");
}

fn row(name: &str, verdicts: &[Verdict]) -> String {
    let count = |is: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count();
    let all = verdicts.len();
    let of = |part: usize, all: usize| {
        if all == 0 { "-".to_owned() } else { format!("{:.0} %", 100.0 * part as f64 / all as f64) }
    };
    let with_attribute = count(&|verdict| verdict.attribute.is_some());
    format!(
        "{name:<17} {:>5} {:>8} {:>8} {:>9} {:>10} {:>7}",
        of(count(&|verdict| verdict.cause), all),
        of(count(&|verdict| verdict.cause_among_three), all),
        of(count(&|verdict| verdict.service), all),
        of(count(&|verdict| verdict.attribute == Some(true)), with_attribute),
        of(count(&|verdict| verdict.significant), all),
        of(count(&|verdict| verdict.onset.is_some_and(|off| off <= 0.05)), all),
    )
}
