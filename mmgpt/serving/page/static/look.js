// The look-inside panel: which part of which picture was read for each word, and how far the gates are open.
import { arrows, el } from './dom.js';

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;

function bytes(text) {
  const raw = atob(text);
  return Uint8Array.from(raw, (sign) => sign.charCodeAt(0));
}

/** The weights of one answer, of which any word and layer, or their mean, can be asked. */
export class Weights {
  constructor(inside) {
    this.inside = inside;
    this.media = inside.media.map((medium) => ({ ...medium, bytes: bytes(medium.weights) }));
  }

  /** Word and layer: a number, or null for the mean of all. Gives for each medium {map: Float32Array per frame, shares}. */
  at(word, layer) {
    const { words, layers, peaks } = this.inside;
    const chosen = [];
    for (let w = 0; w < words.length; w += 1) {
      for (let l = 0; l < layers.length; l += 1) {
        if ((word === null || word === w) && (layer === null || layer === l)) chosen.push([w, l]);
      }
    }
    return this.media.map(({ bytes: all, frames, grid, shares }) => {
      const size = grid[0] * grid[1];
      return frames.map((_, frame) => {
        const map = new Float32Array(size);
        let share = 0;
        for (const [w, l] of chosen) {
          const start = ((w * layers.length + l) * frames.length + frame) * size;
          for (let i = 0; i < size; i += 1) map[i] += (all[start + i] / 255) * peaks[w][l] / chosen.length;
          share += shares[w][l][frame] / chosen.length;
        }
        return { map, share };
      });
    });
  }
}

/** Draws heat over a frame: none where nothing was read, amber, then red. */
function paint(canvas, picture, map, [rows, columns], peak) {
  const side = 288;
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = picture.naturalWidth > 64;
  context.drawImage(picture, 0, 0, side, side);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const heat = peak > 0 ? map[row * columns + column] / peak : 0;
      const [x, y] = [Math.round((column * side) / columns), Math.round((row * side) / rows)];
      const [right, bottom] = [Math.round(((column + 1) * side) / columns), Math.round(((row + 1) * side) / rows)];
      context.fillStyle = `rgb(${255 - 20 * heat} ${190 - 130 * heat} ${40 - 30 * heat} / ${0.72 * heat ** 0.8})`;
      context.fillRect(x, y, right - x, bottom - y);
    }
  }
}

const pictures = new Map();
function decoded(url) {
  if (!pictures.has(url)) {
    const picture = new Image();
    picture.src = url;
    pictures.set(url, picture.decode().then(() => picture));
  }
  return pictures.get(url);
}

function place(map, columns) {
  const best = map.indexOf(Math.max(...map));
  return `row ${Math.floor(best / columns) + 1}, column ${(best % columns) + 1}`;
}

function figure(frame, name, { map, share }, grid, peak) {
  const label = share > 0 ? `${name}: ${percent(share)} of the attention, most at ${place(map, grid[1])}` : `${name}: not looked at`;
  const canvas = el('canvas', { role: 'img', 'aria-label': label });
  decoded(frame).then((picture) => paint(canvas, picture, map, grid, peak));
  return el('figure', { class: 'map' }, canvas, el('figcaption', {}, el('span', { text: name }), el('b', { text: percent(share) })));
}

function mapsOf(weights, word, layer) {
  const all = weights.at(word, layer);
  const peak = Math.max(0, ...all.flat().map(({ map }) => Math.max(...map)));
  let [images, videos] = [0, 0];
  return weights.media.map(({ frames, grid }, m) => {
    if (frames.length === 1) return figure(frames[0], `Picture ${(images += 1)}`, all[m][0], grid, peak);
    const most = Math.max(...all[m].map(({ share }) => share));
    videos += 1;
    const strip = frames.map((frame, f) => {
      const bar = el('i');
      bar.style.height = `${most > 0 ? (100 * all[m][f].share) / most : 0}%`;
      const shown = figure(frame, `Frame ${f + 1}`, all[m][f], grid, peak);
      shown.prepend(el('div', { class: 'share', 'aria-hidden': 'true' }, bar));
      return shown;
    });
    return el('div', { class: 'whole' }, el('h3', { text: `Video ${videos}` }), el('div', { class: 'strip', tabindex: '0', role: 'group', 'aria-label': `Frames of video ${videos}` }, ...strip));
  });
}

function gates({ layers, gates: values }) {
  const rows = layers.flatMap((layer, l) => values[l].map((value, kind) => {
    const bar = el('i');
    bar.style.left = `${50 + Math.min(0, value) * 50}%`;
    bar.style.width = `${Math.abs(value) * 50}%`;
    const name = kind === 0 ? 'attention' : 'feed-forward';
    const track = el('div', { class: `track ${kind ? 'ff' : ''}`, role: 'img', 'aria-label': `Layer ${layer}, ${name}: ${value.toFixed(2)}` }, bar);
    return [el('span', { class: 'layer', text: kind === 0 ? `layer ${layer} attention` : 'feed-forward' }), track, el('span', { text: value.toFixed(2) })];
  }).flat());
  return el('div', { class: 'gates' }, ...rows);
}

/** Fills the panel with an answer's look inside. */
export function showInside(pane, inside) {
  const weights = new Weights(inside);
  let [word, layer] = [null, null];
  const maps = el('div', { class: 'maps' });
  const draw = () => maps.replaceChildren(...mapsOf(weights, word, layer));
  const choose = (button) => {
    for (const other of words.children) {
      other.setAttribute('aria-checked', other === button);
      other.tabIndex = other === button ? 0 : -1;
    }
    word = button.dataset.word === '' ? null : Number(button.dataset.word);
    draw();
  };
  const option = (text, number, extra = '') => el('button', { type: 'button', role: 'radio', class: extra, data: { word: number }, 'aria-checked': String(number === ''), tabindex: number === '' ? '0' : '-1', text, on: { click: (event) => choose(event.currentTarget) } });
  const words = el('div', { class: 'words', role: 'radiogroup', 'aria-label': 'Word of the answer' }, option('all words', '', 'all'), ...inside.words.map((text, number) => option(text.trim() || '␣', number)));
  arrows(words, '[role=radio]', choose);
  const layers = el('select', { on: { change: (event) => {
    layer = event.target.value === '' ? null : Number(event.target.value);
    draw();
  } } }, el('option', { value: '', text: 'mean of all blocks' }), ...inside.layers.map((name, number) => el('option', { value: number, text: `block before layer ${name}` })));
  const seen = inside.media.length > 0;
  pane.replaceChildren(
    el('p', { class: 'hint', text: seen ? 'Choose a word to see what was read in the pictures when the model said it.' : 'This conversation has no pictures; the gates are those of the model.' }),
    ...(seen ? [words, el('label', { class: 'field' }, el('span', { text: 'Gated cross-attention' }), layers), maps, el('div', { class: 'scale', 'aria-hidden': 'true' }, 'less', el('i'), 'more')] : []),
    el('h2', { text: 'Gates' }),
    gates(inside),
    el('p', { class: 'hint', text: 'tanh of each block’s gates, from −1 to 1: how much of what it read reaches the text. At 0 the block changes nothing. Attention tells what was read, not why an answer was given.' }),
  );
  draw();
}
