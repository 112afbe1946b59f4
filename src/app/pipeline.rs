//! Store, capture and dispatch together, and the order in which they stop (DESIGN 8). Generic over the seams: the
//! simulation runs exactly this. Knows no configuration and no admin API.
use crate::capture::{self, Source};
use crate::dispatch;
use crate::egress::Transport;
use crate::fault;
use crate::stop;
use crate::store::Store;
use anyhow::Context as _;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

/// Capture's polite end: the batch in flight and its confirmation.
const CAPTURE_GRACE: Duration = Duration::from_secs(3);
/// Dispatch drains for 5 s by itself; then it is cut off: what was in flight is pending again.
const DISPATCH_GRACE: Duration = Duration::from_secs(6);
/// Journal and index.
const STORE_GRACE: Duration = Duration::from_secs(10);

/// The three stages, ready to run.
pub struct Stages<S, T, J> {
    /// Durable state; also held by the other two.
    pub store: Store,
    /// Postgres in.
    pub capture: capture::CaptureParts<S>,
    /// Attempts out.
    pub dispatch: dispatch::DispatchParts<T, J>,
}

/// Which stage a task was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PipelineStage {
    Store,
    Capture,
    Dispatch,
}

type StageEnded = (PipelineStage, anyhow::Result<()>);

/// Runs until `shutdown`, or until one of the stages fails; then stops the others in order and gives the first error.
pub async fn run<S, T, J>(stages: Stages<S, T, J>, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()>
where
    S: Source,
    T: Transport,
    J: FnMut() -> f64 + Send + 'static,
{
    let Stages { store, capture, dispatch } = stages;
    let (stop_capture, capture_stopped) = watch::channel(false);
    let (stop_dispatch, dispatch_stopped) = watch::channel(false);
    let mut tasks: JoinSet<StageEnded> = JoinSet::new();
    let running = store.clone();
    let on_store =
        tasks.spawn(async move { (PipelineStage::Store, running.run().await.context("the store ended")) });
    let on_capture = tasks.spawn(async move {
        (PipelineStage::Capture, capture::run(capture, capture_stopped).await.map_err(Into::into))
    });
    let on_dispatch = tasks.spawn(async move {
        (PipelineStage::Dispatch, dispatch::run(dispatch, dispatch_stopped).await.map_err(Into::into))
    });
    let mut ended = Vec::new();
    let mut result = tokio::select! {
        biased;
        () = stop::requested(&mut shutdown) => Ok(()),
        first = next(&mut tasks, &mut ended) => unexpected(first),
    };
    for (stage, task, grace) in [
        (PipelineStage::Capture, on_capture, CAPTURE_GRACE),
        (PipelineStage::Dispatch, on_dispatch, DISPATCH_GRACE),
        (PipelineStage::Store, on_store, STORE_GRACE),
    ] {
        let deadline = Instant::now() + grace;
        match stage {
            PipelineStage::Capture => _ = stop_capture.send_replace(true),
            PipelineStage::Dispatch => _ = stop_dispatch.send_replace(true),
            // a disk that hangs must not hold the end beyond the deadline
            PipelineStage::Store => _ = timeout_at(deadline, store.close()).await,
        }
        fault::crash_point("stop.stage-asked");
        while !ended.contains(&stage) {
            let Ok(end) = timeout_at(deadline, next(&mut tasks, &mut ended)).await else {
                warn!(
                    "{stage:?} did not end within {} s and is cut off; nothing durable is lost",
                    grace.as_secs()
                );
                // its connections are closed now, and not when the last stage has ended: Postgres may wait for that
                task.abort();
                break;
            };
            result = result.and(end.map(drop));
        }
    }
    result
}

/// The next stage that ends by itself; one that panicked ends the process.
async fn next(
    tasks: &mut JoinSet<StageEnded>,
    ended: &mut Vec<PipelineStage>,
) -> anyhow::Result<PipelineStage> {
    let (stage, result) = loop {
        match tasks.join_next().await {
            Some(Err(cut_off)) if cut_off.is_cancelled() => {}
            Some(joined) => break joined.context("a stage panicked")?,
            None => std::future::pending().await,
        }
    };
    ended.push(stage);
    result.map(|()| stage)
}

/// A stage that ends unexpectedly stops the process with a non-zero status.
fn unexpected(end: anyhow::Result<PipelineStage>) -> anyhow::Result<()> {
    end.and_then(|stage| anyhow::bail!("{stage:?} ended although nobody asked it to"))
}
