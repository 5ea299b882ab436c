use std::fs::File;
use std::net::TcpListener;

/// Below the ports that systems give to outgoing connections and to listeners that ask for any, so that none of those
/// takes one between its choice here and its use.
const PORTS: std::ops::Range<u16> = 20_000..21_000;

/// A port of 127.0.0.1 that no other test, in whatever process, is given while this lives.
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The system unlocks it when it is closed, whatever becomes of the process.
    _lock: File,
}

impl Port {
    /// A free one.
    pub(crate) fn take() -> Self {
        let folder = std::env::temp_dir().join("tracewell-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let mut ports = PORTS;
        let taken = ports.find_map(|number| {
            let lock = File::create(folder.join(number.to_string())).unwrap();
            let free = lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok();
            free.then_some(Self { number, _lock: lock })
        });
        taken.expect("a free port")
    }
}
