//! Tasks that start and stop together.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Some tasks, and the one token that tells them to end.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    stop: CancellationToken,
    abandon: CancellationToken,
    fallen: CancellationToken,
    tasks: TaskTracker,
}

/// Says on every way out of a task, a panic too, whether the task had been told to end.
struct Sentinel {
    stop: CancellationToken,
    fallen: CancellationToken,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.fallen.cancel();
        }
    }
}

impl Stage {
    /// The token that is cancelled when the stage is to end.
    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task`, which must not end before it was told to.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let abandon = self.abandon.clone();
        let sentinel = Sentinel { stop: self.stop.clone(), fallen: self.fallen.clone() };
        self.tasks.spawn(async move {
            let _sentinel = sentinel;
            tokio::select! {
                biased;
                // 1. the work, which ends in order once it was told to
                () = task => {}
                // 2. the end of all patience
                () = abandon.cancelled() => {}
            }
        });
    }

    /// Waits until a task has ended that nobody told to.
    pub(crate) async fn fallen(&self) {
        self.fallen.cancelled().await;
    }

    /// Tells the tasks to end in order.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until every task has ended.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Drops whatever the tasks still do.
    pub(crate) fn abandon(&self) {
        self.stop();
        self.abandon.cancel();
    }
}
