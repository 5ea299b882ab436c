//! What the kernel says about this process, under the names that Prometheus' own libraries use: dashboards and alerts know
//! them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::text::{Kind, Text};

/// Writes the families; where there is no `/proc`, only the first two.
pub(super) fn write(text: &mut Text, started: SystemTime) {
    let started = started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    text.counter("process_cpu_seconds_total", "Processor time, user and system.", cpu_seconds());
    text.gauge("process_start_time_seconds", "When the server started, in Unix time.", started);
    let Some(process) = Process::read() else { return };
    text.gauge("process_resident_memory_bytes", "Memory that is in RAM.", process.resident_bytes);
    text.gauge("process_virtual_memory_bytes", "Address space.", process.virtual_bytes);
    text.family(Kind::Gauge, "process_threads", "Threads.").sample(&[], process.threads);
    if let Some((open, max)) = descriptors() {
        text.gauge("process_open_fds", "Open file descriptors.", open);
        text.gauge("process_max_fds", "Maximum number of open file descriptors.", max);
    }
}

struct Process {
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
}

impl Process {
    /// Lines of `/proc/self/status`, which need no page size to be understood.
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let number = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            threads: number("Threads")?,
            virtual_bytes: number("VmSize")? * 1024.0,
            resident_bytes: number("VmRSS")? * 1024.0,
        })
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn descriptors() -> Option<(f64, f64)> {
    // The one that reads the folder is among them.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some((open as f64, max as f64))
}
