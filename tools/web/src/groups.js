// Subscribers on the released @moq/net that write down every group they are given.
//   url, name   where, as in http://127.0.0.1:4443/ and live/cam0
//   viewers     how many sessions of their own (1)
//   age         the maximum age in ms that they ask for (0, as browsers do)
//   start       the first group they ask for (none: the latest)
//   times       when given, note for every frame its timestamp (microseconds) and when it came (milliseconds, wall clock)
import * as Moq from "@moq/net";

const query = new URLSearchParams(location.search);
const start = query.get("start");
const asked = { latencyMax: Number(query.get("age") ?? 0), startGroup: start === null ? undefined : Number(start) };

async function follow(state, broadcast, name, onFrame) {
  const seen = (state.tracks[name] = { groups: [], broken: [], frames: 0, bytes: 0, first: null, times: [], ended: false });
  const track = broadcast.track(name).subscribe({ priority: 100, ...asked });
  const read = async (group) => {
    try {
      for (let frame = await group.readFrame(); frame; frame = await group.readFrame()) {
        seen.frames += 1;
        seen.bytes += frame.payload.byteLength;
        const stamp = varint(frame.payload);
        if (seen.first === null || stamp < seen.first) seen.first = stamp;
        if (query.has("times")) seen.times.push([stamp, performance.timeOrigin + performance.now()]);
        onFrame?.(frame);
      }
      seen.groups.push(group.sequence);
    } catch (error) {
      seen.broken.push([group.sequence, String(error)]);
    }
  };
  const readers = [];
  for (let group = await track.recvGroup(); group; group = await track.recvGroup()) readers.push(read(group));
  await Promise.all(readers);
  seen.ended = true;
}

/** The number a payload begins with (RFC 9000, 16): in a media frame its PTS in microseconds. */
function varint(payload) {
  let value = payload[0] & 0x3f;
  for (let at = 1; at < 1 << (payload[0] >> 6); at += 1) value = value * 256 + payload[at];
  return value;
}

/** Every track that a catalog names: renditions by key, all others as the value of a `track` field. */
function named(node, into = new Set()) {
  for (const [key, value] of Object.entries(node ?? {})) {
    if (key === "track" && typeof value === "string") into.add(value);
    else if (key === "renditions" || key === "tracks") for (const name of Object.keys(value)) into.add(name);
    if (value && typeof value === "object") named(value, into);
  }
  return into;
}

async function view(state) {
  const session = await Moq.Connection.connect(new URL(query.get("url")), { websocket: { enabled: false } });
  Object.assign(state, { transport: session.transport, version: session.version });
  const path = Moq.Path.from(query.get("name"));
  const announced = session.announced(path);
  state.waiting = true;
  while (!(await announced.next())?.active);
  const broadcast = session.consume(path);
  const following = [];
  await follow(state, broadcast, "catalog.json", (frame) => {
    state.catalog = JSON.parse(new TextDecoder().decode(frame.payload));
    for (const name of named(state.catalog)) {
      if (!state.tracks[name]) following.push(follow(state, broadcast, name));
    }
  });
  await Promise.all(following);
  state.ended = true;
}

window.viewers = Array.from({ length: Number(query.get("viewers") ?? 1) }, () => {
  const state = { transport: null, version: null, waiting: false, catalog: null, tracks: {}, ended: false, error: null };
  view(state).catch((error) => {
    state.error = String(error?.stack ?? error);
  });
  return state;
});

/** What a test waits for: all viewers at the given point, or one of them in trouble. */
window.all = (key) => window.viewers.every((viewer) => viewer[key]) || window.viewers.some((viewer) => viewer.error);
