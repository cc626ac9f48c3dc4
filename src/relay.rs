//! The data plane: one track's packets in, packets out to each child.

pub mod packet;
