// Asks the daemon every two seconds, and at once when it says that something happened; draws what it answers. Whatever peers say is put
// into the page as text. Nothing here changes anything: the daemon takes no orders at this address.

import { MARKS, draw } from "/topology.js";

/** Routes that are shown at a time (fewer where each needs several lines), events that are kept, how much of the topology is drawn. */
const PAGE = matchMedia("(max-width: 44rem)").matches ? 25 : 100, EVENTS_MAX = 200, PEERS_MAX = 96, LINKS_MAX = 64;
/** Between two looks; after an event; for an answer; without a sign of life; before another try. */
const EVERY_MS = 2_000, SOON_MS = 300, ANSWER_MS = 5_000, SILENCE_MS = 15_000, AGAIN_MS = 1_000;
const KINDS = ["peers", "links", "bfd", "vips", "kernel", "configuration", "drain"];

const at = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const number = (value) => value.toLocaleString("en");
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

/** What the daemon said last, and where in the table we are. */
let told = null, late = null, route = { query: "", after: null, next: null };
let wake = () => {}, dirty = false;

/** Something happened: what is shown is old. */
function nudge() {
  dirty = true;
  wake();
}

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** As the command line says it: 4m12s. */
function age(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days}d${hours}h`;
  if (hours) return `${hours}h${minutes}m`;
  return minutes ? `${minutes}m${seconds % 60}s` : `${seconds}s`;
}

const silent = () => { throw new Error("the daemon does not answer"); };

/** What the daemon refuses has its own words. */
async function refused(answer) {
  const { error, remedy } = await answer.json().catch(silent);
  throw Object.assign(new Error([error, remedy].filter(Boolean).join("; ")), { said: true });
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS) }).catch(silent);
  return answer.ok ? answer.json().catch(silent) : refused(answer);
}

/** Says it once: whoever listens to the page is not told the same again. */
function say(id, text, className = "") {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== className) element.className = className;
}

// Tables: a row for each key stays the same element, so that nobody loses his place; a cell changes when its words do.

function fill(cell, spec) {
  const said = JSON.stringify(spec);
  if (cell.dataset.said === said) return;
  cell.dataset.said = said;
  const { text = "", small, state, label, isNumber, isShort, opens } = spec;
  cell.className = [state && `state ${state}`, isNumber && "number", isShort && "short"].filter(Boolean).join(" ");
  if (label && (text || small)) cell.dataset.label = label; else delete cell.dataset.label;
  const words = state ? `${MARKS[state]} ${text}` : text;
  if (opens) {
    const button = make("button", words);
    button.type = "button";
    button.addEventListener("click", () => explain(opens));
    cell.replaceChildren(button);
  } else cell.textContent = words;
  if (small) cell.append(make("small", small));
}

function rows(id, items, key, cells) {
  const body = at(id), old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  let before = null;
  for (const item of items) {
    const name = key(item);
    const row = old.get(name) ?? make("tr");
    old.delete(name);
    row.dataset.key = name;
    row.setAttribute("role", "row");
    cells(item).forEach((spec, place) => {
      const cell = row.cells[place] ?? row.insertCell();
      cell.setAttribute("role", "cell");
      fill(cell, spec);
    });
    const place = before ? before.nextSibling : body.firstChild;
    if (place !== row) body.insertBefore(row, place);
    before = row;
  }
  for (const row of old.values()) row.remove();
  body.closest("table").hidden = !items.length;
}

// What is shown.

function sessionState(neighbor) {
  if (neighbor.state === "Established") return "ok";
  if (neighbor.shutdown !== null) return "off";
  return neighbor.dynamic || ["OpenSent", "OpenConfirm"].includes(neighbor.state) ? "warn" : "bad";
}

function linkState(link) {
  if (link.miswired) return ["bad", "wrong cable"];
  if (link.damped) return ["warn", "damped"];
  if (!link.up) return ["off", "down"];
  return link.carrier ? ["ok", "up"] : ["bad", "no carrier"];
}

function showSessions({ neighbors }) {
  const up = neighbors.filter((one) => one.state === "Established").length;
  say("sessions-note", neighbors.length ? `${number(up)} of ${number(neighbors.length)} Established` : "no neighbor is configured", "note");
  const count = (label, { ipv4, ipv6 }) =>
    ({ text: number(ipv4 || (ipv6 ? 0 : ipv4)), small: ipv6 ? `${number(ipv6)} IPv6` : undefined, label, isNumber: true });
  rows("neighbors", neighbors, (one) => one.name, (one) => {
    const rest = one.resting_s !== undefined && one.resting_s !== null ? `, rests for ${age(one.resting_s)}` : "";
    const down = one.shutdown === null ? "" : `, held down${one.shutdown && `: ${one.shutdown}`}`;
    return [
      { text: one.name, small: one.hostname && one.hostname !== one.name ? one.hostname : undefined },
      { text: one.state, state: sessionState(one), small: `for ${age(one.since_s)}${rest}${down}` },
      { text: String(one.remote_asn ?? one.expected_asn), small: one.remote_asn ? undefined : "expected", label: "AS", isShort: true },
      { text: one.interface ?? one.address ?? "", small: one.interface ? one.address ?? undefined : undefined, label: "Where", isShort: true },
      count("Received", one.prefixes_received),
      count("Sent", one.prefixes_sent),
      { text: one.bfd ?? "", label: "BFD", isShort: true },
      { text: one.miswired ? `cabling: ${one.miswired}` : one.last_error ?? "", label: "Last error" },
    ];
  });
}

function showHealth({ healthy, reason, checks }) {
  const ill = checks.filter((check) => check.state !== "ok"), well = checks.filter((check) => check.state === "ok");
  say("health-note", healthy ? "converged, routes can be relied on" : `not healthy: ${reason ?? "no reason given"}`, "note");
  const cells = (check) => [{ text: check.name, isShort: true }, { text: check.state, state: check.state }, { text: check.fact }];
  rows("ill", ill, (check) => check.name, (check) => [...cells(check), { text: check.remedy ?? "", label: "Remedy:" }]);
  rows("well", well, (check) => check.name, cells);
  say("well-summary", ill.length ? `ok: ${well.length} of ${checks.length} checks` : `all ${well.length} checks are ok`);
}

/** The links with who is behind them; those without anybody, if there is room. */
function links({ neighbors }, { interfaces }) {
  const byName = new Map(neighbors.map((one) => [one.name, one]));
  const peer = (one, heard) => ({
    name: one.name, state: sessionState(one),
    small: [one.state, `AS ${one.remote_asn ?? one.expected_asn}`, one.hostname ?? heard?.system].filter((word) => word && word !== one.name).join(" · "),
  });
  const all = [];
  for (const link of interfaces.filter((link) => link.kind !== "loopback")) {
    const [state, word] = linkState(link);
    const peers = link.neighbors.filter((name) => byName.has(name)).map((name) => peer(byName.get(name), link.lldp));
    for (const name of link.neighbors) byName.delete(name);
    const stranger = link.lldp?.system ?? link.discovered;
    if (!peers.length && stranger) peers.push({ name: stranger, state: "off", small: link.lldp ? `port ${link.lldp.port}, no session` : "no session" });
    all.push({ name: link.name, small: word, state, peers });
  }
  all.sort((a, b) => Number(!a.peers.length) - Number(!b.peers.length));
  if (byName.size) all.push({ name: "no link", small: "over others", state: "off", peers: [...byName.values()].map((one) => peer(one)) });
  return all;
}

/** Of what does not fit, those that are not well stay. */
function bounded(all) {
  let room = PEERS_MAX;
  const left = { links: Math.max(0, all.length - LINKS_MAX), peers: 0 };
  const order = { bad: 0, warn: 1, off: 2, ok: 3 };
  const shown = all.slice(0, LINKS_MAX).map((link) => {
    const peers = link.peers.length > room ? [...link.peers].sort((a, b) => order[a.state] - order[b.state]).slice(0, room) : link.peers;
    room -= peers.length;
    left.peers += link.peers.length - peers.length;
    return { ...link, peers };
  });
  return { shown, left };
}

function showTopology(version, neighbors, interfaces) {
  const { shown, left } = bounded(links(neighbors, interfaces));
  const up = neighbors.neighbors.filter((one) => one.state === "Established").length;
  const picture = {
    node: { name: version.node, small: [version.role, `AS ${version.asn}`].filter(Boolean).join(" · ") }, links: shown,
    says: `${version.node} with ${shown.length} links; ${up} of ${neighbors.neighbors.length} neighbors are Established. The tables say the same.`,
  };
  const more = [left.links && `${number(left.links)} links`, left.peers && `${number(left.peers)} neighbors`].filter(Boolean).join(" and ");
  say("topology-note", more && `${more} are not drawn; the table below has all neighbors`, "note");
  const said = JSON.stringify([picture, at("topology").clientWidth]);
  if (at("topology").dataset.said === said) return;
  at("topology").dataset.said = said;
  draw(at("topology"), picture);
}

function showWho(version) {
  say("node", version.node);
  say("who", [version.role, `AS ${version.asn}`, version.router_id, `weft ${version.version}`].filter(Boolean).join(" · "));
  document.title = `${version.node} · weft`;
}

// Routes: a page of the table, or of what lies within a prefix, or the one route of an address.

function routesPath() {
  const page = `limit=${PAGE}${route.after ? `&after=${encodeURIComponent(route.after)}` : ""}`;
  if (!route.query) return `/v1/routes?${page}`;
  const what = encodeURIComponent(route.query);
  return route.query.includes("/") ? `/v1/routes?within=${what}&${page}` : `/v1/routes?prefix=${what}`;
}

function shownOf({ routes, prefixes, within }) {
  const shown = number(routes.length), behind = route.after ? `, behind ${route.after}` : "";
  if (within) return `${shown} of ${within.more ? "more than " : ""}${number(within.prefixes)} prefixes within ${within.prefix} shown${behind}`;
  if (!route.query) return `${shown} of ${number(prefixes)} prefixes shown${behind}`;
  return routes.length ? `the route of ${route.query} shown` : `nothing covers ${route.query}`;
}

async function readRoutes() {
  const asked = route;
  try {
    const answer = await ask(routesPath());
    if (asked !== route) return;
    asked.next = answer.next ?? null;
    const hop = (via) => `${via.gateway} ${via.interface}${via.weight > 1 ? ` ×${via.weight}` : ""}`;
    const kernel = { installed: "ok", waiting: "warn", refused: "bad" };
    rows("routes", answer.routes, (one) => one.prefix, (one) => [
      { text: one.prefix, opens: one.prefix, isShort: true },
      { text: one.via.map(hop).join(", ") || (one.kind === "none" ? "nowhere" : "here"), small: one.held_back ?? undefined, label: "to" },
      { text: one.from.join(", "), label: "from" },
      { text: one.kind, isShort: true },
      { text: one.kernel === "none" ? "not wanted there" : one.kernel, state: kernel[one.kernel] ?? "off", label: "Kernel" },
      { text: age(one.age_s), isNumber: true, label: "for" },
    ]);
    say("routes-note", shownOf(answer), "note");
  } catch (error) {
    if (asked !== route) return;
    // What was there is no answer to another question.
    if (error.said) rows("routes", [], String, () => []);
    say("routes-note", error.message, "note bad");
  }
  at("first").hidden = !route.after;
  at("next").hidden = !route.next;
}

function turn(query, after) {
  route = { query, after, next: null };
  readRoutes();
}

// Everything about one prefix.

function list(title, items) {
  const all = make("ul");
  for (const item of items) all.append(make("li", item));
  return items.length ? [make("h3", title), all] : [];
}

function pathsOf(paths) {
  const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const name of ["", "From", "AS path", "Next hop", "Why"]) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  for (const path of paths) {
    const row = body.insertRow(), rank = path.best ? "best" : path.used ? "used" : "not used";
    const hop = path.via ? `${path.next_hop} ${path.via.interface}` : path.next_hop;
    fill(row.insertCell(), { text: path.stale ? `${rank}, stale` : rank, state: path.used ? "ok" : "off" });
    for (const text of [path.from, path.as_path, hop, path.reason]) row.insertCell().textContent = text;
  }
  return table;
}

async function explain(target) {
  say("explain-title", target);
  const place = at("explanation");
  place.replaceChildren(make("p", "reading…"));
  if (!at("explain").open) at("explain").showModal();
  try {
    const found = await ask(`/v1/explain?target=${encodeURIComponent(target)}`);
    const told = found.told.filter((one) => one.told).map((one) => one.peer);
    const not = found.told.filter((one) => !one.told).map((one) => `${one.peer}: ${one.reason ?? "no reason given"}`);
    const refused = (found.refused ?? []).map((one) => `${one.prefix} of ${one.from}, ${age(one.age_s)} ago: ${one.reason}`);
    place.replaceChildren(
      ...(found.route ? [] : [make("p", "No route covers it.")]),
      ...(found.paths.length ? [make("h3", "Paths"), pathsOf(found.paths)] : []),
      ...list("Originated here", [found.originated].filter(Boolean)),
      ...list("Kernel", [found.kernel].filter(Boolean)),
      ...list("Told", told), ...list("Not told", not), ...list("Without a session", found.no_session), ...list("Refused", refused),
    );
  } catch (error) {
    place.replaceChildren(make("p", error.message, "bad"));
  }
}

// Events: the daemon's history first, then what it says as it happens.

const seen = new Set();
let waiting = [], newest = null, heard = "";

function event(ms, kind, text, { className, times = 1 } = {}) {
  waiting.push({ ms, kind, text, className, times });
  if (waiting.length === 1) setTimeout(showEvents, SOON_MS);
  if (waiting.length > EVENTS_MAX) waiting.splice(1, waiting.length - EVENTS_MAX);
}

/** A line, or once more the one above all others. */
function showEvent({ ms, kind, text, className, times }) {
  const again = newest !== null && newest.kind === kind && newest.text === text;
  newest = { kind, text, times: again ? newest.times + times : times };
  const item = make("li"), time = make("time", clock(ms));
  time.dateTime = new Date(ms).toISOString();
  item.append(time, make("span", kind, "kind"), make("span", newest.times > 1 ? `${text} (${number(newest.times)} times)` : text, className));
  if (again) at("events").firstChild?.remove();
  at("events").prepend(item);
}

function showEvents() {
  waiting.splice(0).forEach(showEvent);
  while (at("events").children.length > EVENTS_MAX) at("events").lastChild.remove();
  say("events-note", late ? `late: ${late}` : `${heard}as they happen, the newest first`, late ? "note bad" : "note");
}

function happened(line, ms, times = 1) {
  const key = `${line.at_ms} ${line.text}`;
  if (seen.has(key)) return;
  if (seen.size > 4 * EVENTS_MAX) seen.clear();
  seen.add(key);
  event(ms, String(line.event ?? line.kind ?? "").replaceAll("_", " "), line.text, { times });
}

async function readHistory() {
  const { history } = await ask("/v1/history");
  for (const entry of history.slice(-EVENTS_MAX)) happened(entry, Date.now() - entry.ago_ms, entry.times);
}

let watched = new AbortController();

/** Until the stream ends, or says nothing for too long: it gives a sign of life every five seconds. */
async function watch() {
  const stop = watched = new AbortController();
  const kinds = at("with-routes").checked ? [...KINDS, "routes"] : KINDS;
  let silence = setTimeout(() => stop.abort(), SILENCE_MS);
  try {
    const answer = await fetch(`/v1/watch/events?kinds=${kinds}`, { signal: stop.signal }).catch(silent);
    if (!answer.ok) await refused(answer);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", first = true; ; first = false) {
      const { value, done } = await reader.read().catch(silent);
      if (done) silent();
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENCE_MS);
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      // What happens while the history is read is in the stream, which is open by now.
      if (first) await readHistory();
      if (first) heard = kinds.includes("routes") ? "routes too, " : "";
      late = null;
      for (const line of lines.filter(Boolean).map((line) => JSON.parse(line))) {
        if (line.lost) event(Date.now(), "lost", `${number(line.lost)} ${line.of} came faster than they were read`);
        else if (line.text) happened(line, Date.now());
        if (!line.watch) nudge();
      }
      if (!waiting.length) showEvents();
    }
  } finally {
    clearTimeout(silence);
    stop.abort();
  }
}

async function followEvents() {
  for (;;) {
    try {
      await watch();
    } catch (error) {
      if (!watched.signal.reason?.again) late = error.message;
      showEvents();
      await sleep(watched.signal.reason?.again ? 0 : AGAIN_MS);
    }
  }
}

// Whether it still answers.

function isTold(version) {
  if (told && told.lost) event(Date.now(), "page", "the daemon answers again", { className: "ok" });
  // Another life of it counts from the start again.
  if (told && version.pid !== told.pid) seen.clear();
  const changed = told && told.version !== version.version ? `weft ${version.version} runs now: load this page again` : null;
  told = { at: Date.now(), pid: version.pid, version: told?.version ?? version.version, lost: false };
  document.body.classList.remove("stale");
  say("live", changed ?? (late ? "live, events late" : "live"), changed || late ? "half" : "");
}

function isLost(error) {
  if (told && !told.lost) event(Date.now(), "page", error.message, { className: "bad" });
  if (told) told.lost = true;
  document.body.classList.add("stale");
  say("live", `not live: ${error.message}${told ? `; as of ${clock(told.at)}` : ""}`, "off");
}

async function read() {
  try {
    const asked = ["version", "neighbors", "interfaces", "health"].map((what) => ask(`/v1/${what}`));
    const [version, neighbors, interfaces, health] = await Promise.all(asked);
    isTold(version);
    showWho(version);
    showHealth(health);
    showSessions(neighbors);
    showTopology(version, neighbors, interfaces);
    at("topology").redraw = () => showTopology(version, neighbors, interfaces);
    await readRoutes();
  } catch (error) {
    isLost(error);
  }
}

async function follow() {
  for (;;) {
    // Nobody looks at a page in the background: it asks when somebody does.
    dirty = false;
    if (!document.hidden) await read();
    await sleep(SOON_MS);
    if (!dirty) await Promise.race([sleep(EVERY_MS), new Promise((done) => { wake = done; })]);
  }
}

at("filter").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  turn(at("prefix").value.trim(), null);
});
at("prefix").addEventListener("search", () => { if (!at("prefix").value) turn("", null); });
at("next").addEventListener("click", () => turn(route.query, route.next));
at("first").addEventListener("click", () => turn(route.query, null));
at("with-routes").addEventListener("change", () => {
  // A table that arrives is not read aloud.
  at("events").setAttribute("aria-live", at("with-routes").checked ? "off" : "polite");
  watched.abort({ again: true });
});
document.addEventListener("visibilitychange", () => nudge());
new ResizeObserver(() => at("topology").redraw?.()).observe(at("topology").parentElement);

follow();
followEvents();
