// A subscriber that asks for what browsers ask for (maximum age 0) and writes down every group it is given.
// ?url=http://127.0.0.1:4443/&name=live/cam0&tracks=catalog.json,video0   (tracks=* takes them from the catalog)
import * as Moq from "@moq/net";

const query = new URLSearchParams(location.search);
const state = { transport: null, version: null, catalog: null, ended: false, error: null, tracks: {} };
window.state = () => state;

async function follow(broadcast, name, onFrame) {
  const seen = (state.tracks[name] = { groups: [], partial: [], frames: 0, bytes: 0, ended: false });
  const track = broadcast.track(name).subscribe({ latencyMax: 0, priority: 100 });
  const readers = [];
  for (;;) {
    const group = await track.recvGroup();
    if (!group) break;
    readers.push(
      (async () => {
        try {
          for (;;) {
            const frame = await group.readFrame();
            if (!frame) break;
            seen.frames += 1;
            seen.bytes += frame.payload.byteLength;
            onFrame?.(frame);
          }
          seen.groups.push(group.sequence);
        } catch (error) {
          seen.partial.push([group.sequence, String(error)]);
        }
      })(),
    );
  }
  await Promise.all(readers);
  seen.ended = true;
}

/** Every rendition named in the catalog is followed once. */
function renditions(catalog) {
  return ["video", "audio"].flatMap((kind) => Object.keys(catalog[kind]?.renditions ?? {}));
}

async function run() {
  const session = await Moq.Connection.connect(new URL(query.get("url")), { websocket: { enabled: false } });
  state.transport = session.transport;
  state.version = session.version;
  const path = Moq.Path.from(query.get("name"));
  const announced = session.announced(path);
  while (!(await announced.next())?.active);
  const broadcast = session.consume(path);
  const following = [];
  const onCatalog = (frame) => {
    state.catalog = JSON.parse(new TextDecoder().decode(frame.payload));
    for (const name of renditions(state.catalog)) {
      if (!state.tracks[name]) following.push(follow(broadcast, name));
    }
  };
  await follow(broadcast, "catalog.json", onCatalog);
  await Promise.all(following);
  state.ended = true;
}

run().catch((error) => {
  state.error = String(error?.stack ?? error);
});
