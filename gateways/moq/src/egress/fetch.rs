//! FETCH: one group of the past, or a part of it.

use std::future::poll_fn;

use moqgate_core::{ForwardError, Forwarded, GroupConsumer};

use super::in_flight::priority;
use super::sink::StreamSink;
use crate::link::Link;
use crate::transport::{ReadFault, Reader, SendStream};
use crate::wire::{Fetch, stream_code};

/// Answers one FETCH request. The charge is the model's, at the same door as for subscriptions.
pub(crate) async fn serve(link: &Link, reply: SendStream, mut request: Reader) {
    let fetch = match request.message::<Fetch>().await {
        Ok(Some(fetch)) => fetch,
        Ok(None) => return reply.reset(stream_code::CANCELLED),
        Err(fault) => return super::refuse_unreadable(reply, fault, stream_code::CANCELLED),
    };
    let Some(broadcast) = link.consume(&fetch.broadcast) else {
        return reply.reset(stream_code::UNROUTABLE);
    };
    let found = async {
        let info = broadcast.track_info(&fetch.track).await?;
        broadcast.fetch(&fetch.track, fetch.group).await.map(|group| (info, group))
    };
    let (info, mut group) = match found.await {
        Ok(found) => found,
        Err(error) => return reply.reset(super::refusal(error)),
    };
    group.skip_to(index(fetch.frame_start));
    if let Some(last) = fetch.frame_end {
        group.limit(index(last).saturating_add(1));
    }
    reply.set_priority(priority(fetch.priority, u64::MAX, 0));
    let mut sink = StreamSink::new(reply, link.version, info.timescale);
    let outcome = tokio::select! {
        biased;
        outcome = send(&mut group, &mut sink) => outcome,
        code = abandoned(&mut request) => Err(code),
    };
    match outcome {
        Ok(()) => sink.finish(),
        Err(code) => sink.reset(code),
    }
}

async fn send(group: &mut GroupConsumer, sink: &mut StreamSink) -> Result<(), u32> {
    loop {
        let forwarded = group.forward(sink).await;
        poll_fn(|cx| sink.poll_flush(cx)).await.map_err(|_| stream_code::CANCELLED)?;
        match forwarded {
            Ok(Forwarded::Frames(_)) => {}
            Ok(Forwarded::End) => return Ok(()),
            Err(ForwardError::Aborted(code)) => {
                return Err(u32::try_from(code.0).unwrap_or(stream_code::INTERNAL));
            }
            Err(_) => return Err(stream_code::CANCELLED),
        }
    }
}

/// Resolves when the peer takes its request back. A FIN may only mean that there is nothing more to ask.
async fn abandoned(request: &mut Reader) -> u32 {
    match request.end().await {
        Ok(()) => std::future::pending().await,
        Err(ReadFault::Reset(code)) => code,
        Err(ReadFault::Lost) => stream_code::SESSION_CLOSED,
        Err(ReadFault::Truncated | ReadFault::Decode(_)) => stream_code::MALFORMED_TRACK,
    }
}

fn index(frame: u64) -> usize {
    usize::try_from(frame).unwrap_or(usize::MAX)
}
