// What both pages need: one session over WHIP or WHEP (RFC 9725), and what it measures.
'use strict';

const query = new URLSearchParams(location.search);
const path = decodeURIComponent(location.pathname.split('/').slice(2).join('/'));
const element = (id) => document.getElementById(id);

/** What the page knows; tests read it too. */
const session = { state: 'idle', error: '', stats: {}, connection: null, url: null, restarting: false };

function show(state, error = '') {
  session.state = state;
  session.error = error;
  element('state').textContent = state;
  element('error').textContent = error;
}

function authorized(headers) {
  const token = query.get('token');
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

/** Servers that the gateway names, so that clients behind a NAT find a way. */
async function iceServers(endpoint) {
  const answer = await fetch(endpoint, { method: 'OPTIONS' });
  const servers = [];
  for (const [, url, rest] of (answer.headers.get('Link') ?? '').matchAll(/<([^>]+)>;([^<]*)/g)) {
    if (!/rel="?ice-server"?/.test(rest)) continue;
    const value = (name) => rest.match(new RegExp(`${name}="([^"]*)"`))?.[1];
    servers.push({ urls: url, username: value('username'), credential: value('credential') });
  }
  return servers;
}

/** Browsers receive stereo only if their own offer says so. */
const stereo = (sdp) => sdp.replace(/(a=fmtp:\d+ [^\r\n]*useinbandfec=1)(?![^\r\n]*stereo=1)/g, '$1;stereo=1');

class Refused extends Error {
  constructor(status, detail, retry) {
    super(`${status}: ${detail}`);
    this.retry = retry;
  }
}

/** Offers `connection` to the endpoint; resolves when the answer is applied. */
async function connect(endpoint, connection) {
  session.connection = connection;
  const trickled = [];
  connection.onicecandidate = ({ candidate }) => {
    if (!candidate) return;
    trickled.push(candidate);
    // Candidates of new credentials must not overtake the restart that tells them.
    if (session.url && !session.restarting) trickle(trickled);
  };
  connection.onconnectionstatechange = () => {
    const state = connection.connectionState;
    if (session.connection !== connection) return;
    if (state === 'failed' || state === 'closed') return ended(`the connection ${state}`);
    show(state);
  };
  const offer = await connection.createOffer();
  offer.sdp = stereo(offer.sdp);
  await connection.setLocalDescription(offer);
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: authorized({ 'Content-Type': 'application/sdp' }),
    body: offer.sdp,
  });
  const text = await answer.text();
  if (answer.status !== 201) {
    let detail = text;
    try { detail = JSON.parse(text).detail ?? text; } catch { /* not a problem document */ }
    throw new Refused(answer.status, detail, answer.headers.has('Retry-After') && answer.status !== 401);
  }
  session.url = new URL(answer.headers.get('Location'), endpoint).href;
  session.tag = answer.headers.get('ETag');
  // To try it: without UDP, as in a network that lets none out, or by way of another port.
  let answered = query.has('tcp') ? text.replace(/^a=candidate:\S+ \d+ udp .*\r\n/mg, '') : text;
  const via = query.get('via');
  if (via) answered = answered.replace(/^(a=candidate:\S+ \d+ udp \d+ \S+) \d+/mg, `$1 ${via}`);
  await connection.setRemoteDescription({ type: 'answer', sdp: answered });
  if (trickled.length > 0) trickle(trickled);
}

/** Tells the gateway the candidates found so far (RFC 8840). It does not need them, but a standard client sends them. */
function trickle(candidates) {
  const sdp = session.connection.localDescription.sdp;
  const line = (name) => sdp.match(new RegExp(`^a=${name}:.*$`, 'm'))?.[0] ?? '';
  const body = [
    line('ice-ufrag'), line('ice-pwd'), sdp.match(/^m=.*$/m)[0].trim(), line('mid'),
    ...candidates.splice(0).map(({ candidate }) => `a=${candidate}`), '',
  ].map((text) => text.trim()).join('\r\n');
  const headers = authorized({ 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': session.tag });
  fetch(session.url, { method: 'PATCH', headers, body }).catch(() => {});
}

/** Restarts ICE: the way to the gateway may have changed (RFC 9725 section 4.3.3). */
async function restart() {
  session.restarting = true;
  try { await exchange(session.connection); } finally { session.restarting = false; }
}

async function exchange(connection) {
  const offer = await connection.createOffer({ iceRestart: true });
  await connection.setLocalDescription(offer);
  const line = (text, name) => text.match(new RegExp(`^a=${name}:(.*)$`, 'm'))[1].trim();
  const body = `a=ice-ufrag:${line(offer.sdp, 'ice-ufrag')}\r\na=ice-pwd:${line(offer.sdp, 'ice-pwd')}\r\n`;
  const headers = authorized({ 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' });
  const answer = await fetch(session.url, { method: 'PATCH', headers, body });
  const text = await answer.text();
  if (answer.status !== 200) throw new Refused(answer.status, text, false);
  session.tag = answer.headers.get('ETag');
  const sdp = connection.remoteDescription.sdp
    .replace(/^a=ice-ufrag:.*$/mg, `a=ice-ufrag:${line(text, 'ice-ufrag')}`)
    .replace(/^a=ice-pwd:.*$/mg, `a=ice-pwd:${line(text, 'ice-pwd')}`);
  await connection.setRemoteDescription({ type: 'answer', sdp });
}

function disconnect() {
  const { url, connection } = session;
  session.connection = null;
  session.url = null;
  connection?.close();
  if (url) fetch(url, { method: 'DELETE', headers: authorized({}), keepalive: true }).catch(() => {});
}

function ended(error) {
  disconnect();
  show('ended', error);
  dispatchEvent(new Event('ended'));
}

/** Measures once a second. */
setInterval(async () => {
  if (!session.connection) return;
  const before = session.stats;
  const now = { at: performance.now() };
  for (const report of (await session.connection.getStats()).values()) {
    const isMedia = report.type === 'inbound-rtp' || report.type === 'outbound-rtp';
    if (isMedia && report.kind === 'video' && (report.frameWidth || !now.video)) now.video = report;
    if (isMedia && report.kind === 'audio') now.audio = report;
    if (report.type === 'transport') now.transport = report;
    if (report.type === 'candidate-pair' && report.nominated && report.state === 'succeeded') now.pair = report;
    if (report.type === 'local-candidate') (now.candidates ??= {})[report.id] = report;
    if (report.type === 'remote-candidate') (now.candidates ??= {})[report.id] = report;
  }
  session.stats = now;
  const bytes = (stats) => (stats.transport?.bytesReceived ?? 0) + (stats.transport?.bytesSent ?? 0);
  const rate = before.at ? (bytes(now) - bytes(before)) * 8 / (now.at - before.at) : 0;
  const { video, pair } = now;
  const unknown = '–';
  element('resolution').textContent = video?.frameWidth
    ? `${video.frameWidth} × ${video.frameHeight}, ${Math.round(video.framesPerSecond ?? 0)} per second` : unknown;
  element('bitrate').textContent = rate > 0 ? `${Math.round(rate)} kbit/s` : unknown;
  element('trip').textContent = pair?.currentRoundTripTime !== undefined
    ? `${(pair.currentRoundTripTime * 1000).toFixed(1)} ms` : unknown;
  const remote = now.candidates?.[pair?.remoteCandidateId];
  element('way').textContent = remote ? `${remote.protocol} ${remote.address}:${remote.port}` : unknown;
}, 1000);

addEventListener('pagehide', disconnect);
