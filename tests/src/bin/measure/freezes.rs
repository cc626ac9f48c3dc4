//! How long a page's picture stands still when the node above it is killed.

use banyan_tests::chromium::installed;
use banyan_tests::forest::End;
use banyan_tests::freezes::Watched;
use banyan_tests::media;

/// Ends the parent of a page `count` times, and prints the longest times between two pictures around
/// that, in milliseconds, which is what this returns.
pub fn measure(end: End, count: usize) -> Vec<f64> {
    let mut freezes = Vec::new();
    if installed().is_none() {
        eprintln!("Chromium is not installed: not measured");
        return freezes;
    }
    let mut watched = Watched::open(&media::clip_mp4());
    for done in 0..count {
        watched.wait_for_standby();
        freezes.push(watched.fell(end));
        eprint!("\r{} of {count}", done + 1);
    }
    eprintln!();
    freezes.sort_by(f64::total_cmp);
    let at = |share: f64| freezes[((freezes.len() - 1) as f64 * share).round() as usize];
    let what = match end {
        End::Killed => "killed",
        End::Asked => "left",
    };
    println!(
        "{count} parents of a page {what}, a key frame each second: longest time without a new \
         picture p50 {:.0} ms, p95 {:.0} ms, most {:.0} ms",
        at(0.5),
        at(0.95),
        at(1.0)
    );
    freezes
}
