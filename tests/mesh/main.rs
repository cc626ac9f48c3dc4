//! Real nodes and trackers, as processes, on this machine.
