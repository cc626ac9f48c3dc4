//! A minute of coming and going; `--bin soak` runs the same for hours.

use banyan_tests::turn::share_turn;
use banyan_tests::{secs, soak};

#[test]
fn nothing_grows_while_viewers_come_and_go() {
    let _turn = share_turn();
    let outcome = soak::run(secs(60));
    println!("{}", outcome.table);
    assert!(outcome.guests > 20, "only {} guests came", outcome.guests);
    assert!(
        outcome.grown.is_empty(),
        "{:?}\n{}",
        outcome.grown,
        outcome.table
    );
}
