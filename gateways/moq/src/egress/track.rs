//! TRACK: what a track is.

use crate::link::Link;
use crate::transport::{ReadFault, Reader, SendStream};
use crate::wire::{Message as _, Track, TrackInfo, stream_code};

/// Answers one TRACK request. A track that its publisher has yet to describe is waited for.
pub(crate) async fn serve(link: &Link, mut reply: SendStream, mut request: Reader) {
    let track = match request.message::<Track>().await {
        Ok(Some(track)) => track,
        Ok(None) => return reply.reset(stream_code::CANCELLED),
        Err(fault) => return super::refuse_unreadable(reply, fault, stream_code::CANCELLED),
    };
    let Some(broadcast) = link.consume(&track.broadcast) else {
        return reply.reset(stream_code::UNROUTABLE);
    };
    let info = tokio::select! {
        biased;
        info = broadcast.track_info(&track.track) => info,
        abandoned = request.end() => return match abandoned {
            Ok(()) => reply.reset(stream_code::CANCELLED),
            Err(fault) => super::refuse_unreadable(reply, fault, stream_code::MALFORMED_TRACK),
        },
    };
    let info = match info {
        Ok(info) => info,
        Err(error) => return reply.reset(super::refusal(error)),
    };
    let message =
        TrackInfo { priority: info.priority, ordered: 0, max_age: info.max_age, timescale: info.timescale };
    if reply.write(message.to_bytes(link.version)).await.is_ok() {
        reply.finish();
    }
    // What follows a request is a mistake of the peer's, but the answer is out.
    let _ended: Result<(), ReadFault> = request.end().await;
}
