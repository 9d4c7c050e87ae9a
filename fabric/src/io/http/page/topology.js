// The node, its links, and who is behind them, as a drawing. It says nothing that the tables do not say: state by colour, mark and word.

export const MARKS = { ok: "●", warn: "◐", bad: "✕", off: "○" };

const SPACE = "http://www.w3.org/2000/svg";
const COLUMN_MIN = 320, COLUMNS_MAX = 4;
const NODE = { width: 260, height: 44 };
const LINK = { left: 28, width: 104, gap: 30 };
const ROW = 48, BOX = 40, BUS = 22, ROWS_MIN = 3;
/** Pixels of a letter, about. */
const LETTER = 7.1, SMALL_LETTER = 6.3;

function part(name, attributes, text) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** As much of a text as there is room for. */
function fit(text, room, letter) {
  const most = Math.max(1, Math.floor(room / letter));
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

/** A box with a mark, a name, and a smaller line below. */
function box({ x, y, width, height = BOX }, { name, small, state, className }) {
  const all = part("g", {});
  all.append(part("title", {}, small ? `${name}: ${small}` : name));
  all.append(part("rect", { x, y, width, height, rx: 5, class: className ?? state }));
  const left = state ? x + 24 : x + 10, room = width - (state ? 30 : 16);
  if (state) all.append(part("text", { x: x + 8, y: y + height / 2 - (small ? 8 : 0), class: `mark ${state}` }, MARKS[state]));
  all.append(part("text", { x: left, y: y + height / 2 - (small ? 8 : 0), class: "name" }, fit(name, room, LETTER)));
  if (small) all.append(part("text", { x: left, y: y + height / 2 + 9, class: "dim" }, fit(small, room, SMALL_LETTER)));
  return all;
}

/** Links with many neighbours are drawn in pieces, so that no column is much longer than the others; those with few stay whole. */
function columnsOf(links, count) {
  const rows = links.reduce((sum, link) => sum + Math.max(1, link.peers.length), 0);
  const height = Math.max(ROWS_MIN, Math.ceil(rows / count));
  const columns = [{ rows: 0, links: [] }];
  for (const link of links) {
    let left = link.peers;
    const isWhole = left.length <= height;
    do {
      let column = columns.at(-1);
      const isFull = column.rows >= height || (isWhole && column.rows && column.rows + left.length > height);
      if (isFull && columns.length < count) columns.push(column = { rows: 0, links: [] });
      const room = columns.length < count ? Math.max(1, height - column.rows) : Math.max(1, left.length);
      column.links.push({ ...link, peers: left.slice(0, room) });
      column.rows += Math.max(1, Math.min(room, left.length));
      left = left.slice(room);
    } while (left.length);
  }
  return columns;
}

function drawLink(svg, link, x, y, width) {
  const middle = y + BOX / 2, right = x + LINK.left + LINK.width;
  svg.append(part("path", { d: `M${x + 10} ${middle}H${x + LINK.left}`, class: link.state }));
  svg.append(box({ x: x + LINK.left, y, width: LINK.width }, link));
  link.peers.forEach((peer, at) => {
    const top = y + at * ROW, turn = right + LINK.gap / 2;
    svg.append(part("path", { d: `M${right} ${middle}H${turn}V${top + BOX / 2}H${right + LINK.gap}`, class: peer.state }));
    svg.append(box({ x: right + LINK.gap, y: top, width: width - LINK.left - LINK.width - LINK.gap - 6 }, peer));
  });
}

/** `picture`: `{ node: {name, small}, links: [{name, small, state, peers: [{name, small, state}]}], says }`. */
export function draw(svg, picture) {
  const width = Math.max(280, svg.clientWidth || 800);
  const count = Math.max(1, Math.min(COLUMNS_MAX, picture.links.length, Math.floor(width / COLUMN_MIN)));
  const columns = columnsOf(picture.links, count);
  const title = part("title", { id: "topology-says" }, picture.says);
  const step = Math.min(width / columns.length, 460), bus = NODE.height + BUS / 2, top = NODE.height + BUS;
  svg.replaceChildren(title);
  if (picture.links.length) svg.append(part("path", { d: `M10 ${NODE.height}V${bus}H${(columns.length - 1) * step + 10}` }));
  columns.forEach((column, at) => {
    let row = 0;
    for (const link of column.links) {
      svg.append(part("path", { d: `M${at * step + 10} ${bus}V${top + row * ROW + BOX / 2}` }));
      drawLink(svg, link, at * step, top + row * ROW, step);
      row += Math.max(1, link.peers.length);
    }
  });
  svg.append(box({ x: 1, y: 1, width: Math.min(NODE.width, width - 2), height: NODE.height - 2 }, { ...picture.node, className: "node" }));
  const height = top + Math.max(0, ...columns.map((column) => column.rows)) * ROW;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
}
