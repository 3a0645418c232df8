// A canvas to draw on. For a model of the handwritten digits the drawing becomes a picture as the data set has them.
import { $, el } from './dom.js';

const SIDE = 280; // pixels of the canvas
const PEN = 24;
const BITMAP = 32; // the data set's: 32 x 32 black and white, then the count of white in each 4 x 4
const CELL = 4;

/**
 * The 8 x 8 picture of 16 grey levels that the data set would have of a drawing: its bounding box fills the height of a
 * bitmap of 32 x 32, and each cell of 4 x 4 counts what is white.
 * @param {HTMLCanvasElement} drawing white on black
 * @returns {Uint8ClampedArray|null} 64 grey values, row by row; null where nothing is drawn
 */
export function asDigit(drawing) {
  const { width, height } = drawing;
  const { data } = drawing.getContext('2d').getImageData(0, 0, width, height);
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[4 * (y * width + x)] > 127) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
    }
  }
  if (right < 0) return null;
  const [w, h] = [right - left + 1, bottom - top + 1];
  const scale = Math.min(BITMAP / h, (BITMAP - 2 * CELL) / w);
  const bitmap = el('canvas', { width: BITMAP, height: BITMAP });
  const context = bitmap.getContext('2d', { willReadFrequently: true });
  context.fillRect(0, 0, BITMAP, BITMAP);
  context.imageSmoothingQuality = 'high';
  const [x, y] = [(BITMAP - w * scale) / 2, (BITMAP - h * scale) / 2];
  context.drawImage(drawing, left, top, w, h, x, y, w * scale, h * scale);
  const pixels = context.getImageData(0, 0, BITMAP, BITMAP).data;
  const cells = BITMAP / CELL;
  const counts = new Array(cells * cells).fill(0);
  for (let row = 0; row < BITMAP; row += 1) {
    for (let column = 0; column < BITMAP; column += 1) {
      if (pixels[4 * (row * BITMAP + column)] > 127) counts[Math.floor(row / CELL) * cells + Math.floor(column / CELL)] += 1;
    }
  }
  return Uint8ClampedArray.from(counts, (count) => Math.round((count * 255) / (CELL * CELL)));
}

function digitCanvas(values) {
  const canvas = el('canvas', { width: 8, height: 8, class: 'preview', role: 'img', 'aria-label': 'What the model will get' });
  if (values) {
    const image = new ImageData(8, 8);
    values.forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
    canvas.getContext('2d').putImageData(image, 0, 0);
  }
  return canvas;
}

/** Opens the dialog. `onDone(medium, question)` gets the picture; the question is null where it is only to be added. */
export function openSketch({ digits, question }, onDone) {
  const dialog = $('canvas-dialog');
  const paper = el('canvas', { width: SIDE, height: SIDE, class: 'paper', role: 'img', 'aria-label': 'Drawing area: draw with mouse, pen or finger' });
  const context = paper.getContext('2d', { willReadFrequently: true });
  const small = el('input', { type: 'checkbox', checked: digits });
  let preview = digitCanvas(null);
  const text = el('input', { type: 'text', value: question, 'aria-label': 'Question', autocomplete: 'off' });
  const buttons = [
    el('button', { type: 'button', class: 'button quiet', text: 'Clear', on: { click: () => clear() } }),
    el('button', { type: 'button', class: 'button', text: 'Add', on: { click: () => done(null) } }),
    el('button', { type: 'submit', class: 'button primary', text: 'Ask' }),
  ];
  let empty = true;
  let last = null;

  function show() {
    buttons[1].disabled = buttons[2].disabled = empty;
    const made = digitCanvas(small.checked ? asDigit(paper) : null);
    made.hidden = !small.checked;
    preview.replaceWith(made);
    preview = made;
  }
  function clear() {
    context.fillStyle = '#000';
    context.fillRect(0, 0, SIDE, SIDE);
    empty = true;
    show();
  }
  function done(asked) {
    const values = small.checked ? asDigit(paper) : null;
    const url = (small.checked ? digitCanvas(values) : paper).toDataURL('image/png');
    dialog.close();
    onDone({ kind: 'image', url, name: 'drawing.png', tiny: small.checked }, asked);
  }
  const at = (event) => {
    const box = paper.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  };
  function stroke(event) {
    const place = at(event);
    Object.assign(context, { strokeStyle: '#fff', lineWidth: PEN, lineCap: 'round', lineJoin: 'round' });
    context.beginPath();
    context.moveTo(...(last || place));
    context.lineTo(...place);
    context.stroke();
    last = place;
    empty = false;
  }
  paper.addEventListener('pointerdown', (event) => {
    paper.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  });
  paper.addEventListener('pointermove', (event) => {
    if (paper.hasPointerCapture(event.pointerId)) stroke(event);
  });
  paper.addEventListener('pointerup', show);
  small.addEventListener('change', show);

  const form = el('form', { class: 'sketch', method: 'dialog', on: { submit: (event) => {
    event.preventDefault();
    if (!empty) done(text.value.trim());
  } } },
    el('h2', { id: 'canvas-title', text: digits ? 'Draw a digit' : 'Draw' }),
    paper,
    el('div', { class: 'below' }, preview, el('label', { class: 'keep' }, small, el('span', { text: 'As the digits of the data set: 8 × 8 pixels, 16 grey levels' }))),
    text,
    el('div', { class: 'line actions' }, el('button', { type: 'button', class: 'button quiet', text: 'Cancel', on: { click: () => dialog.close() } }), ...buttons),
  );
  dialog.replaceChildren(form);
  clear();
  dialog.showModal();
}
