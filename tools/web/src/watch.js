// A page as a site would have it: the released player element, and nothing of ours between it and the gateway.
// The query names the gateway and the broadcast: ?url=http://127.0.0.1:4443/&name=live/cam0
import "@moq/watch/element";

const query = new URLSearchParams(location.search);
const watch = document.createElement("moq-watch");
watch.setAttribute("url", query.get("url"));
watch.setAttribute("name", query.get("name"));
watch.setAttribute("visible", "always");
watch.setAttribute("muted", "");
watch.append(document.createElement("canvas"));
document.body.append(watch);

/** What the driving test reads: the transport of the live session, and the picture as the viewer sees it. */
window.probe = () => {
  const session = watch.connection.established.peek();
  const canvas = watch.querySelector("canvas");
  return {
    transport: session?.transport ?? null,
    version: session?.version ?? null,
    width: canvas.width,
    height: canvas.height,
  };
};

/** The mean of red, green and blue in a grid of cells over the canvas, so that a test can compare two moments. */
window.picture = () => {
  const canvas = watch.querySelector("canvas");
  if (!canvas.width || !canvas.height) return null;
  const small = new OffscreenCanvas(64, 36);
  const context = small.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0, small.width, small.height);
  const { data } = context.getImageData(0, 0, small.width, small.height);
  const cells = [];
  for (let i = 0; i < data.length; i += 4) cells.push(Math.round((data[i] + data[i + 1] + data[i + 2]) / 3));
  return cells;
};
