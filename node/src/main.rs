//! The `banyan` program: broadcasts, watches and relays live streams.

fn main() -> std::process::ExitCode {
    banyan_node::program::run()
}
