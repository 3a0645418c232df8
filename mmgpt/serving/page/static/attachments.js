// Pictures and videos on their way into a question: chosen, pasted, dropped or drawn.
import { el, icon, mediaElement } from './dom.js';

const MAX_SIDE = 1024; // pixels: models look at a few hundred, and a photo of a phone has thousands
const MAX_VIDEO = 20e6; // bytes
const TINY = 64; // pixels: smaller pictures are shown with their pixels

/** A medium {kind, url, name, tiny} of a file; an Error says why it cannot be one. */
export async function readMedium(file) {
  if (file.type.startsWith('video/')) {
    if (file.size > MAX_VIDEO) throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB; at most ${MAX_VIDEO / 1e6}.`);
    return { kind: 'video', url: await dataUrl(file), name: file.name };
  }
  if (!file.type.startsWith('image/')) throw new Error(`${file.name} is neither a picture nor a video.`);
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} cannot be read as a picture.`);
  }
  const { width, height } = picture;
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  const known = ['image/png', 'image/jpeg', 'image/webp'].includes(file.type);
  if (scale === 1 && known) return { kind: 'image', url: await dataUrl(file), name: file.name, tiny: Math.max(width, height) <= TINY };
  const canvas = el('canvas', { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const url = file.type === 'image/png' ? canvas.toDataURL('image/png') : canvas.toDataURL('image/jpeg', 0.92);
  return { kind: 'image', url, name: file.name, tiny: false };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

/** A message's part of a medium, as OpenAI's clients send it. */
export const part = ({ kind, url }) => (kind === 'video' ? { type: 'video_url', video_url: { url } } : { type: 'image_url', image_url: { url } });

/** Thumbnails that can be taken away again. */
export class Tray {
  constructor(list, onChange = () => {}, onProblem = () => {}) {
    this.list = list;
    this.media = [];
    this.onChange = onChange;
    this.onProblem = onProblem;
  }

  async addFiles(files) {
    for (const file of files) {
      try {
        this.media.push(await readMedium(file));
      } catch (error) {
        this.onProblem(error.message);
      }
    }
    this.draw();
  }

  set(media) {
    this.media = [...media];
    this.draw();
  }

  take() {
    const { media } = this;
    this.set([]);
    return media;
  }

  draw() {
    this.list.replaceChildren(...this.media.map((medium, place) => {
      const name = `${medium.kind === 'video' ? 'Video' : 'Picture'} ${place + 1}`;
      const shown = mediaElement(medium, `${name}: ${medium.name}`);
      shown.removeAttribute('controls');
      const remove = () => {
        this.media.splice(place, 1);
        this.draw();
      };
      const label = `Remove ${name.toLowerCase()}`;
      const button = el('button', { type: 'button', class: 'button remove', 'aria-label': label, title: label, on: { click: remove } }, icon('close'));
      return el('li', {}, shown, this.media.length > 1 ? el('span', { class: 'number', 'aria-hidden': 'true', text: place + 1 }) : null, button);
    }));
    this.onChange(this.media);
  }
}

/** Lets files be dropped on an element; `over(true | false)` shows that they may be. */
export function droppable(target, over, onFiles) {
  let depth = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  target.addEventListener('dragenter', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    over(true);
  });
  target.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  target.addEventListener('dragleave', (event) => {
    if (!hasFiles(event)) return;
    depth -= 1;
    if (depth <= 0) over(false);
  });
  target.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    depth = 0;
    over(false);
    onFiles([...event.dataTransfer.files]);
  });
}
