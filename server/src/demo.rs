use crate::error::StartError;
use crate::ready::Bound;
use tokio_util::sync::CancellationToken;
pub(crate) struct Demo {}
impl Demo {
    pub(crate) fn new(_bound: Bound) -> Result<Self, StartError> {
        Ok(Self {})
    }
    pub(crate) fn path(&self) -> &str {
        "demo"
    }
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.cancelled().await
    }
}
