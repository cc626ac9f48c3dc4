//! `banyan watch` and `banyan relay`: a node below the root.

use banyan::node::Role;
use banyan::wire::tracker::StreamState;

use crate::config::Viewer;
use crate::rtc::UdpPort;
use crate::session::{Happened, NodeSetup, Session};
use crate::sink::recorder::{self, Recorder};

/// Runs until the user ends it, or until the recorded stream ends.
///
/// # Errors
/// When the node cannot start, or the tracker refuses it for good.
pub async fn run(options: Viewer, verb: &'static str) -> anyhow::Result<()> {
    let mut sinks: Vec<Box<dyn crate::driver::Sink>> = Vec::new();
    let mut recording = None;
    if let Some(path) = &options.node.record {
        let (recorder, outcome) = Recorder::new(path, &[])?;
        sinks.push(Box::new(recorder));
        recording = Some(outcome);
    }
    let setup = NodeSetup {
        role: Role::Viewer {
            stream: options.link.stream,
        },
        tracker: options.link.tracker,
        verb,
        default_port: UdpPort::Any,
        sinks,
        ingest: None,
    };
    let mut session = Session::start(&options.node, setup).await?;
    let mut was_live = false;
    let mut away = false;
    let ended = loop {
        let happened = tokio::select! {
            happened = session.next() => happened,
            failed = recorder::failed(recording.as_mut()) => {
                recording = None;
                Err(failed)
            }
        };
        match happened {
            Err(error) => break Err(error),
            Ok(Happened::Stop) => break Ok(()),
            Ok(Happened::Stream(StreamState::Away)) if !away => {
                tracing::info!(
                    "the broadcaster is away; the stream goes on by itself when it returns"
                );
                away = true;
            }
            Ok(Happened::Stream(StreamState::Live)) => {
                if std::mem::take(&mut away) {
                    tracing::info!("the broadcaster is back");
                }
                was_live = true;
            }
            Ok(Happened::Stream(StreamState::Offline)) if was_live => {
                tracing::info!("the broadcast is over");
                if recording.is_some() {
                    break Ok(());
                }
                was_live = false;
                away = false;
            }
            Ok(_) => {}
        }
    };
    session.leave().await;
    if let Some(outcome) = recording {
        let finished = outcome.finished().await;
        return ended.and(finished);
    }
    ended
}
