// A studio in one page: publishes over WHIP, watches over WHEP and with the released player, and knows what it sent, what
// it got and how late. Each part is begun by the driving test through window.studio.
//   http, url, name   the gateway's HTTP API (127.0.0.1:8080), its MoQ URL, and the broadcast
import "@moq/watch/element";

const query = new URLSearchParams(location.search);

// --- connections -----------------------------------------------------------------------------------------------------

/** One session over WHIP or WHEP (RFC 9725). `via` is the port of a proxy in front of the media port. */
async function negotiate(role, connection, via) {
  await connection.setLocalDescription();
  const endpoint = `http://${query.get("http")}/${role}/${query.get("name")}`;
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch(endpoint, { method: "POST", headers, body: connection.localDescription.sdp });
  let sdp = await answer.text();
  if (answer.status !== 201) throw new Error(`${answer.status}: ${sdp}`);
  if (via) sdp = sdp.replace(/^(a=candidate:\S+ \d+ udp \d+ \S+) \d+/gm, `$1 ${via}`);
  await connection.setRemoteDescription({ type: "answer", sdp });
  await connected(connection);
  return new URL(answer.headers.get("Location"), endpoint).href;
}

function connected(connection) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const state = connection.connectionState;
      if (state === "connected") resolve();
      if (state === "failed" || state === "closed") reject(new Error(`the connection ${state}`));
    };
    connection.addEventListener("connectionstatechange", look);
    look();
  });
}

const show = (tag, attributes = {}) => document.body.appendChild(Object.assign(document.createElement(tag), attributes));

function video(connection) {
  const stream = new MediaStream();
  connection.addEventListener("track", ({ track }) => stream.addTrack(track));
  return show("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream });
}

// --- counting: every encoded frame passes a worker, on its way to the packetiser or from the depacketiser -------------

const WORKER = `onrtctransform = ({ transformer: { readable, writable, options } }) => {
  const { port, units } = options;
  const counts = { frames: 0, keys: 0, bytes: 0, shut: false };
  const length = units ? annexB : (data) => data.byteLength;
  port.onmessage = () => {
    counts.shut = true;
    port.postMessage(counts);
  };
  const transform = (frame, out) => {
    if (counts.shut) return;
    counts.frames += 1;
    counts.keys += frame.type === "key" ? 1 : 0;
    counts.bytes += length(frame.data);
    out.enqueue(frame);
    port.postMessage(counts);
  };
  readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable).catch(() => {});
};
// The size of an access unit with start codes of four bytes and without delimiters and filler.
function annexB(data) {
  const bytes = new Uint8Array(data);
  const starts = [];
  for (let at = 0; at + 2 < bytes.length; at += 1) {
    if (bytes[at] === 0 && bytes[at + 1] === 0 && bytes[at + 2] === 1) starts.push(at + 3);
  }
  return starts.reduce((sum, start, index) => {
    let end = index + 1 < starts.length ? starts[index + 1] - 3 : bytes.length;
    while (index + 1 < starts.length && end > start && bytes[end - 1] === 0) end -= 1;
    const kind = bytes[start] & 31;
    return kind === 9 || kind === 12 ? sum : sum + 4 + end - start;
  }, 0);
}`;
let worker;

/** Counts the frames of a sender or receiver, up to `shut()`; what comes later is thrown away. */
function count(end, kind, codec) {
  worker ??= new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })));
  const { port1, port2 } = new MessageChannel();
  const counter = { frames: 0, keys: 0, bytes: 0, shut: false };
  port1.onmessage = ({ data }) => Object.assign(counter, data);
  const options = { port: port2, units: kind === "video" && codec === "H264" };
  end.transform = new RTCRtpScriptTransform(worker, options, [port2]);
  counter.end = () => port1.postMessage(null);
  return counter;
}

// --- the clock: milliseconds since the page began, in black and white blocks ------------------------------------------

const COLUMNS = 12;
const ROWS = 6;
const CHECK_BITS = 4;
const TIME_BITS = 2 * COLUMNS - CHECK_BITS;

const check = (time) => {
  let sum = 5; // so that a picture all in black is no time
  for (let rest = time; rest > 0; rest >>= CHECK_BITS) sum ^= rest & 15;
  return sum;
};

function drawClock(context, { width, height }, frame) {
  context.fillStyle = `hsl(${frame % 360} 60% 50%)`;
  context.fillRect(0, 0, width, height);
  context.fillStyle = "navy";
  context.fillRect((frame * 7) % width, height / 2, 80, height / 3);
  const time = Math.round(performance.now()) % (1 << TIME_BITS);
  const bits = (time << CHECK_BITS) | check(time);
  for (let bit = 0; bit < 2 * COLUMNS; bit += 1) {
    context.fillStyle = (bits >> bit) & 1 ? "white" : "black";
    const [column, row] = [bit % COLUMNS, Math.floor(bit / COLUMNS)];
    context.fillRect((column * width) / COLUMNS, (row * height) / ROWS, width / COLUMNS, height / ROWS);
  }
}

const CELL = 8;
const small = new OffscreenCanvas(COLUMNS * CELL, ROWS * CELL).getContext("2d", { willReadFrequently: true });

/** The time that a picture shows, or null. */
function readClock(source) {
  small.drawImage(source, 0, 0, COLUMNS * CELL, ROWS * CELL);
  const { data } = small.getImageData(0, 0, COLUMNS * CELL, 2 * CELL);
  let bits = 0;
  for (let bit = 0; bit < 2 * COLUMNS; bit += 1) {
    const [x, y] = [(bit % COLUMNS) * CELL + CELL / 2, Math.floor(bit / COLUMNS) * CELL + CELL / 2];
    if (data[4 * (y * COLUMNS * CELL + x) + 1] > 127) bits |= 1 << bit;
  }
  const time = bits >> CHECK_BITS;
  return check(time) === (bits & 15) ? time : null;
}

/** Notes how late each picture of `source` is, as it is first seen. */
function follow(source, into) {
  const look = () => {
    const time = readClock(source);
    if (time !== null && time !== into.last) {
      into.last = time;
      into.late.push(performance.now() - time);
    }
  };
  const again = () => {
    look();
    if (source instanceof HTMLVideoElement) source.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
  };
  if (source instanceof HTMLVideoElement) source.requestVideoFrameCallback(again);
  else requestAnimationFrame(again);
}

function clock(frameRate) {
  const canvas = show("canvas", { width: 640, height: 360 });
  const context = canvas.getContext("2d", { alpha: false });
  let frame = 0;
  setInterval(() => drawClock(context, canvas, (frame += 1)), 1000 / frameRate);
  const sound = new AudioContext();
  const destination = sound.createMediaStreamDestination();
  const tone = new OscillatorNode(sound, { frequency: 440 });
  tone.connect(destination);
  tone.start();
  return new MediaStream([...canvas.captureStream(frameRate).getTracks(), ...destination.stream.getTracks()]);
}

const camera = (frameRate) =>
  navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360, frameRate }, audio: true });

// --- what a test begins -----------------------------------------------------------------------------------------------

const studio = (window.studio = {
  counts: {},
  late: { whep: { late: [] }, silent: { late: [] }, moq: { late: [] } },
  connections: {},
  locations: {},

  /** Publishes `source` (clock or camera) with this coding; with `counted` nothing before `begin`. */
  async publish({ source = "clock", codec = "H264", frameRate = 30, counted = false, via } = {}) {
    const media = source === "clock" ? clock(frameRate) : await camera(frameRate);
    const connection = (studio.connections.whip = new RTCPeerConnection());
    for (const track of media.getTracks()) {
      const init = { direction: "sendonly", streams: [media], sendEncodings: [{ active: !counted }] };
      const transceiver = connection.addTransceiver(track, init);
      if (track.kind === "video") {
        const known = RTCRtpSender.getCapabilities("video").codecs;
        const wanted = known.filter(({ mimeType }) => mimeType.toUpperCase() === `VIDEO/${codec}`);
        transceiver.setCodecPreferences([...wanted, ...known.filter((other) => !wanted.includes(other))]);
      }
      if (counted) studio.counts[`whip.${track.kind}`] = count(transceiver.sender, track.kind, codec);
    }
    studio.locations.whip = await negotiate("whip", connection, via);
  },

  /** Begins to send what is counted: the sound, which is there at once, after the first picture. */
  async begin() {
    const senders = studio.connections.whip.getSenders();
    for (const sender of senders.sort((one, other) => other.track.kind.localeCompare(one.track.kind))) {
      const parameters = sender.getParameters();
      parameters.encodings.forEach((encoding) => (encoding.active = true));
      // Another size would be another catalog.
      if (sender.track.kind === "video") parameters.degradationPreference = "maintain-resolution";
      await sender.setParameters(parameters);
      const counter = studio.counts[`whip.${sender.track.kind}`];
      while (counter.frames === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },

  /** Sends nothing more, and says what was sent. */
  async mute() {
    const counters = ["whip.video", "whip.audio"].map((name) => studio.counts[name]);
    counters.forEach((counter) => counter.end());
    while (!counters.every((counter) => counter.shut)) await new Promise((resolve) => setTimeout(resolve, 5));
    return studio.counts;
  },

  /** Watches over WHEP. With sound the browser shows each picture together with what was heard then. */
  async watch({ codec = "H264", counted = false, sound = true, via } = {}) {
    const name = sound ? "whep" : "silent";
    const connection = (studio.connections[name] = new RTCPeerConnection());
    const element = video(connection);
    for (const kind of sound ? ["video", "audio"] : ["video"]) {
      const { receiver } = connection.addTransceiver(kind, { direction: "recvonly" });
      if (counted) studio.counts[`${name}.${kind}`] = count(receiver, kind, codec);
    }
    follow(element, studio.late[name]);
    studio.locations[name] = await negotiate("whep", connection, via);
  },

  /** Watches with the released player. */
  play({ muted = true } = {}) {
    const player = document.createElement("moq-watch");
    const attributes = { url: query.get("url"), name: query.get("name"), visible: "always" };
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    if (muted) player.setAttribute("muted", "");
    const canvas = document.createElement("canvas");
    player.append(canvas);
    document.body.append(player);
    studio.player = player;
    follow(canvas, studio.late.moq);
  },

  /** The camera from this browser to itself, with nothing between. */
  async control({ frameRate = 20 } = {}) {
    const media = await camera(frameRate);
    const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
    from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate);
    to.onicecandidate = ({ candidate }) => from.addIceCandidate(candidate);
    video(to);
    for (const track of media.getTracks()) from.addTrack(track, media);
    await from.setLocalDescription();
    await to.setRemoteDescription(from.localDescription);
    await to.setLocalDescription();
    await from.setRemoteDescription(to.localDescription);
    await connected(to);
    studio.connections.control = to;
  },

  /** Reports about media of a connection, by kind. */
  async stats(name) {
    const found = { at: performance.now() };
    for (const report of (await studio.connections[name].getStats()).values()) {
      if (report.type === "inbound-rtp" || report.type === "outbound-rtp") found[report.kind] = report;
    }
    return found;
  },

  /** Begins to measure anew, and says for how long that is. */
  began: 0,
  forget() {
    for (const { late } of Object.values(studio.late)) late.length = 0;
    studio.began = performance.now();
  },
  since: () => performance.now() - studio.began,

  /** What the released player has got. */
  player: null,
  heard() {
    const { player } = studio;
    return {
      transport: player.connection.established.peek()?.transport,
      video: player.video.out.stats.peek(),
      audio: player.audio.out.stats.peek(),
      sampleRate: player.audio.out.sampleRate.peek(),
      buffer: player.sync.out.buffer.peek(),
      jitter: player.sync.out.jitter.peek(),
      catalog: player.broadcast.out.catalog.peek(),
    };
  },
});
