// Elements, icons, and what a screen reader is told.

const ICONS = {
  attach: 'M21 11.5 12.5 20a5.5 5.5 0 0 1-7.8-7.8l8.9-8.9a3.7 3.7 0 0 1 5.2 5.2l-8.8 8.9a1.8 1.8 0 0 1-2.6-2.6l8-8',
  draw: 'M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19zM14.5 6.5l3 3',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  fresh: 'M12 5v14M5 12h14',
  theme: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  panel: 'M4 5h16v14H4zM14.5 5v14',
  close: 'M6 6l12 12M18 6L6 18',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  again: 'M20 11a8 8 0 1 0-2.3 6.2M20 5v6h-6',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6',
  text: 'M5 7h14M5 12h14M5 17h9',
  edit: 'M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19z',
  up: 'M7 11v9H4v-9zM7 11l4-8a2.5 2.5 0 0 1 2.5 2.5V9H19a2 2 0 0 1 2 2.3l-1.2 7A2 2 0 0 1 17.8 20H7',
  down: 'M17 13V4h3v9zM17 13l-4 8a2.5 2.5 0 0 1-2.5-2.5V15H5a2 2 0 0 1-2-2.3l1.2-7A2 2 0 0 1 6.2 4H17',
  flag: 'M6 21V4M6 4h12l-2.5 4L18 12H6',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
};
const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

/** An element. Properties: class, text, data, on {event: listener}; all others are attributes, false or null leaves one out. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') made.className = value;
    else if (name === 'text') made.textContent = value;
    else if (name === 'data') Object.assign(made.dataset, value);
    else if (name === 'on') for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A small button that shows an icon and is called by its label. */
export function iconButton(name, label, listener, properties = {}) {
  const made = { type: 'button', class: 'button quiet small icon-only', 'aria-label': label, title: label };
  return el('button', { ...made, ...properties, on: { click: listener } }, icon(name));
}

/** The picture or video of a medium. */
export function mediaElement({ kind, url, name, tiny }, alt) {
  if (kind === 'video') return el('video', { src: url, controls: true, muted: true, 'aria-label': alt || name });
  return el('img', { src: url, alt: alt || name, class: tiny ? 'tiny' : null });
}

export function announce(text) {
  $('status').textContent = text;
}

/** One of several may be chosen: arrow keys move, as WAI-ARIA says of tabs and radio groups. */
export function arrows(container, selector, choose) {
  container.addEventListener('keydown', (event) => {
    const all = [...container.querySelectorAll(selector)];
    const place = all.indexOf(document.activeElement);
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (place < 0 || !(event.key in steps || event.key === 'Home' || event.key === 'End')) return;
    event.preventDefault();
    const next = event.key === 'Home' ? 0 : event.key === 'End' ? all.length - 1 : place + steps[event.key];
    const wanted = all[(next + all.length) % all.length];
    choose(wanted);
    wanted.focus();
  });
}
