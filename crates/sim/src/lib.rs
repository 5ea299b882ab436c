//! Workloads with planted faults.
