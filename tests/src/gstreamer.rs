//! GStreamer: pipelines that publish a clip and that save what they play.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::tools;

/// The program, for [`tools::require`].
pub const TOOL: &str = "gst-launch-1.0";

/// Pushes an MPEG-TS clip with H.264 and AAC to an RTMP URL, in real time.
#[must_use]
pub fn push_rtmp(clip: &Path, url: &str) -> Process {
    launch(
        "push RTMP",
        clip,
        &["flvmux", "name=mux", "streamable=true", "!", "rtmp2sink", "sync=true", &location(url)],
    )
}

/// Pushes such a clip to an SRT listener, in real time.
#[must_use]
pub fn push_srt(clip: &Path, listener: SocketAddr, path: &str) -> Process {
    let (uri, id) = (format!("uri=srt://{listener}?mode=caller"), format!("streamid=#!::r={path},m=publish"));
    launch(
        "push SRT",
        clip,
        &["mpegtsmux", "name=mux", "alignment=7", "!", "srtsink", "sync=true", &uri, &id],
    )
}

/// Plays an RTMP URL into `file`, as FLV.
#[must_use]
pub fn play_rtmp(url: &str, file: &Path) -> Process {
    let to = location(&file.to_string_lossy());
    run("play RTMP", &["rtmp2src", &location(url), "!", "filesink", "buffer-mode=2", &to])
}

/// Plays `path` from an SRT listener into `file`, as MPEG-TS.
#[must_use]
pub fn play_srt(listener: SocketAddr, path: &str, file: &Path) -> Process {
    let (uri, id) = (format!("uri=srt://{listener}?mode=caller"), format!("streamid=#!::r={path},m=request"));
    let to = location(&file.to_string_lossy());
    run(
        "play SRT",
        &["srtsrc", &uri, &id, "latency=1000", "auto-reconnect=false", "!", "filesink", "buffer-mode=2", &to],
    )
}

fn location(of: &str) -> String {
    format!("location={of}")
}

fn launch(name: &str, clip: &Path, sink: &[&str]) -> Process {
    let from = location(&clip.to_string_lossy());
    let mut pipeline = vec!["filesrc", &from, "!", "tsdemux", "name=demux"];
    pipeline.extend(["demux.", "!", "queue", "!", "h264parse", "!", "mux."]);
    pipeline.extend(["demux.", "!", "queue", "!", "aacparse", "!", "mux."]);
    pipeline.extend(sink);
    run(name, &pipeline)
}

fn run(name: &str, pipeline: &[&str]) -> Process {
    let mut command = Command::new(tools::program(TOOL));
    command.arg("-e").args(pipeline).env("GST_DEBUG", "2").env("GST_DEBUG_NO_COLOR", "1");
    Process::start(&format!("GStreamer {name}"), &mut command)
}
